"""Names of the cluster's roles, which the migration makes, and what every role loses."""

RUNTIME_ROLE = "llm_saas_app"
"""Every tenant transaction takes it. It owns nothing and cannot log in."""

DEFINER_ROLE = "llm_saas_definer"
"""Owns the SECURITY DEFINER functions: login's look-up, and finding work without a caller."""

# Who may make temporary tables can put one in the place of a table of ours. PUBLIC has the right by default, and only
# the database's owner can take it away; in a hoster's database its administrator has to.
REVOKE_TEMPORARY = """
DO $$ BEGIN
  IF (SELECT pg_has_role(d.datdba, 'USAGE') FROM pg_database d WHERE d.datname = current_database()) THEN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
  ELSE
    RAISE WARNING 'not the owner of the database: REVOKE TEMPORARY ON DATABASE % FROM PUBLIC', current_database();
  END IF;
END $$
"""
