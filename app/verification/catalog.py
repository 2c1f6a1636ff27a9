"""What PostgreSQL's catalog says about a database's protection: each check is a query that names what breaks a rule.

Every login may ask them. `tests/isolation/test_catalog.py` holds the migrations to the same ones.
"""

from dataclasses import dataclass

from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE
from app.verification.functions import DEFINER_FUNCTIONS, OPERATOR_FUNCTIONS, SEARCH_PATH

DIRECTORY = ("directory_claims", "directory_secret", "directory_tenants", "region_identity")
NOT_TENANT_DATA = ("alembic_version", "erased_tenants", *DIRECTORY)
# Between colleagues, and between a document's readers: table, policy, command, and what its condition asks.
NARROWED = (
    ("messages", "viewer", "ALL", "app_viewer()"),
    ("conversations", "viewer", "ALL", "app_viewer()"),
    ("message_deltas", "viewer", "SELECT", "app_viewer()"),
    ("message_contents", "viewer", "SELECT", "app_viewer()"),
    ("documents", "reader", "ALL", "app.user_id"),
    ("document_contents", "reader", "ALL", "sees_all_documents()"),
    ("document_chunks", "reader", "ALL", "sees_all_documents()"),
    ("chunk_terms", "reader", "ALL", "sees_all_documents()"),
    ("chunk_vectors", "reader", "ALL", "sees_all_documents()"),
)
# Of a database that was migrated, whatever else is there.
CORE = ("tenants", "users", "messages")


@dataclass(frozen=True, slots=True)
class Check:
    """`sql` gives a row of one text for each thing that breaks the rule."""

    rule: str
    sql: str


def _names(names: tuple[str, ...] | list[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{name}'" for name in names) + "]::text[]"


def _rows(*rows: tuple[str, ...]) -> str:
    return "(VALUES " + ", ".join("(" + ", ".join(f"'{value}'" for value in row) + ")" for row in rows) + ")"


_TABLES = f"""
SELECT oid, relname::text AS name, relrowsecurity, relforcerowsecurity, relowner FROM pg_catalog.pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL({_names(NOT_TENANT_DATA)})
"""
_OURS = """
SELECT oid, proname::text AS name, prosecdef, proconfig, proacl, pg_get_userbyid(proowner) AS owner
FROM pg_catalog.pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
"""
_FLAGS = """concat_ws(', ', CASE WHEN rolsuper THEN 'a superuser' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
  CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolreplication THEN 'REPLICATION' END)"""
_KNOWN = _names(sorted(DEFINER_FUNCTIONS | OPERATOR_FUNCTIONS))
_CALLERS = f"""CASE WHEN name = ANY({_names(sorted(OPERATOR_FUNCTIONS))}) THEN ARRAY['{DEFINER_ROLE}']
  ELSE ARRAY['{RUNTIME_ROLE}', '{DEFINER_ROLE}'] END"""

CHECKS = (
    Check(
        "Row-level security is on and forced on every table",
        f"""
SELECT name || CASE WHEN relrowsecurity THEN ': it is not forced on the owner' ELSE ': it is off' END
FROM ({_TABLES}) AS t WHERE NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL SELECT core || ': there is no such table' FROM unnest({_names(CORE)}) AS core
WHERE NOT EXISTS (SELECT FROM ({_TABLES}) AS t WHERE name = core) ORDER BY 1
""",
    ),
    Check(
        "Each table has one policy that lets rows through: its tenant's, for reading and writing alike",
        f"""
SELECT name || ': ' || CASE count(policyname) WHEN 0 THEN 'no policy'
  ELSE string_agg(format('%s for %s to %s using %s', policyname, cmd, roles, qual), '; ') END
FROM ({_TABLES}) AS t LEFT JOIN pg_catalog.pg_policies ON schemaname = 'public' AND tablename = name
  AND permissive = 'PERMISSIVE' AND roles <> ARRAY['{DEFINER_ROLE}']::name[]
GROUP BY name HAVING count(policyname) <> 1 OR NOT coalesce(bool_and(
  roles = ARRAY['{RUNTIME_ROLE}']::name[] AND cmd = 'ALL' AND with_check = qual AND qual ~ CASE name
    WHEN 'tenants' THEN '^\\(\\(?id\\)?(::text)? = app_tenant\\(\\)\\)$'
    ELSE '^\\(\\(?tenant_id\\)?(::text)? = app_tenant\\(\\)\\)$' END), false)
ORDER BY 1
""",
    ),
    Check(
        "What users write is narrowed to those who may see it",
        f"""
SELECT format('%s: no restrictive policy %s that asks %s', wanted, policy, asks)
FROM {_rows(*NARROWED)} AS w (wanted, policy, command, asks)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_policies WHERE schemaname = 'public' AND tablename = wanted
  AND policyname = policy AND permissive = 'RESTRICTIVE' AND cmd = command
  AND '{RUNTIME_ROLE}' = ANY(roles) AND strpos(qual, CASE asks WHEN 'app_viewer()' THEN 'app_viewer' ELSE asks END) > 0)
ORDER BY 1
""",
    ),
    Check(
        "The tables across tenants are no business of the runtime's",
        f"""
SELECT format('%s: %s', relname, CASE WHEN relrowsecurity AND relforcerowsecurity THEN 'the runtime has rights to it'
  ELSE 'row-level security is not forced' END)
FROM pg_catalog.pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY({_names(DIRECTORY)})
  AND (NOT (relrowsecurity AND relforcerowsecurity)
    OR has_any_column_privilege('{RUNTIME_ROLE}', oid, 'SELECT, INSERT, UPDATE')
    OR has_table_privilege('{RUNTIME_ROLE}', oid, 'DELETE'))
UNION ALL SELECT format('%s: policy %s for %s', tablename, policyname, roles) FROM pg_catalog.pg_policies
WHERE tablename = ANY({_names(DIRECTORY)}) AND roles <> ARRAY['{DEFINER_ROLE}']::name[] ORDER BY 1
""",
    ),
    Check(
        "The roles of the runtime and of the definer functions cannot log in, bypass nothing and are nobody else",
        f"""
SELECT format('%s: %s', rolname, concat_ws(', ', nullif({_FLAGS}, ''), CASE WHEN rolcanlogin THEN 'LOGIN' END,
  CASE WHEN rolcreatedb THEN 'CREATEDB' END)) FROM pg_catalog.pg_roles
WHERE rolname IN ('{RUNTIME_ROLE}', '{DEFINER_ROLE}')
  AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication OR rolcanlogin OR rolcreatedb)
UNION ALL SELECT format('%s is a member of %s', member::regrole, roleid::regrole) FROM pg_catalog.pg_auth_members
WHERE member = '{RUNTIME_ROLE}'::regrole
UNION ALL SELECT format('{RUNTIME_ROLE} owns %s', relname) FROM pg_catalog.pg_class
WHERE relowner = '{RUNTIME_ROLE}'::regrole ORDER BY 1
""",
    ),
    Check(
        "The runtime has no right beyond rows, and PUBLIC none at all",
        f"""
SELECT format('%s: %s may %s', name, '{RUNTIME_ROLE}', beyond)
FROM ({_TABLES}) AS t, unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS beyond
WHERE has_table_privilege('{RUNTIME_ROLE}', oid, beyond)
UNION ALL SELECT format('%s: PUBLIC may %s', relname, given.privilege_type)
FROM pg_catalog.pg_class, aclexplode(relacl) AS given
WHERE relnamespace = 'public'::regnamespace AND given.grantee = 0
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
UNION ALL SELECT format('%s(): PUBLIC may call it', name) FROM ({_OURS}) AS f
WHERE proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) AS given WHERE given.grantee = 0)
UNION ALL SELECT format('{RUNTIME_ROLE} may make things in schema %s', nspname) FROM pg_catalog.pg_namespace
WHERE nspname = 'public' AND has_schema_privilege('{RUNTIME_ROLE}', oid, 'CREATE')
UNION ALL SELECT '{RUNTIME_ROLE} may make temporary tables: REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC'
WHERE has_database_privilege('{RUNTIME_ROLE}', current_database(), 'TEMPORARY') ORDER BY 1
""",
    ),
    Check(
        "The runtime changes no audit entry and lists no password hash",
        f"""
SELECT format('audit_log: %s may %s', '{RUNTIME_ROLE}', beyond) FROM unnest(ARRAY['UPDATE', 'DELETE']) AS beyond
WHERE CASE beyond WHEN 'DELETE' THEN has_table_privilege('{RUNTIME_ROLE}', 'public.audit_log', beyond)
  ELSE has_any_column_privilege('{RUNTIME_ROLE}', 'public.audit_log', beyond) END
UNION ALL SELECT 'users.hashed_password: {RUNTIME_ROLE} may SELECT'
WHERE has_column_privilege('{RUNTIME_ROLE}', 'public.users', 'hashed_password', 'SELECT') ORDER BY 1
""",
    ),
    Check(
        "What runs with its owner's rights is known, pinned to a search path, and callable by the runtime alone",
        f"""
SELECT format('%s(): %s', name, concat_ws(', ',
  CASE WHEN name <> ALL({_KNOWN}) THEN 'nobody knows it' END,
  CASE WHEN owner <> '{DEFINER_ROLE}' THEN 'owned by ' || owner END,
  CASE WHEN NOT coalesce('{SEARCH_PATH}' = ANY(proconfig), false) THEN 'without its search_path' END,
  CASE WHEN grantees <> {_CALLERS} THEN 'callable by ' || array_to_string(grantees, ', ') END))
FROM ({_OURS}) AS f, LATERAL (
  SELECT coalesce(array_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END), '{{}}')
    AS grantees FROM aclexplode(coalesce(proacl, acldefault('f', '{DEFINER_ROLE}'::regrole)))) AS callers
WHERE prosecdef AND (name <> ALL({_KNOWN}) OR owner <> '{DEFINER_ROLE}'
  OR NOT coalesce('{SEARCH_PATH}' = ANY(proconfig), false)
  OR grantees <> (SELECT array_agg(one ORDER BY one) FROM unnest({_CALLERS}) AS one))
ORDER BY 1
""",
    ),
    Check(
        "A view looks with its reader's rights, and nothing is copied out of the tables",
        f"""
SELECT format('%s.%s: %s', nspname, relname, CASE relkind WHEN 'v' THEN 'a view without security_invoker'
  ELSE 'rows outside of row-level security' END)
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
  AND ((relkind = 'v' AND NOT coalesce(reloptions, '{{}}') && ARRAY['security_invoker=true', 'security_invoker=on'])
    OR (relkind IN ('m', 'f') AND has_any_column_privilege('{RUNTIME_ROLE}', pg_class.oid, 'SELECT')))
ORDER BY 1
""",
    ),
    Check(
        "A row cannot point at another tenant's: each foreign key carries the tenant",
        """
SELECT format('%s: %s', conrelid::regclass, conname) FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey) AND attname = 'tenant_id')
ORDER BY 1
""",
    ),
)

# Asked by the login that the service has.
LOGIN = Check(
    "The service's own login is no superuser, bypasses nothing, and owns no table",
    f"""
SELECT format('%s: %s', rolname, {_FLAGS}) FROM pg_catalog.pg_roles
WHERE rolname = session_user AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)
UNION ALL SELECT format('%s has the rights of %s, who owns the tables', session_user, pg_get_userbyid(relowner))
FROM (SELECT DISTINCT relowner FROM ({_TABLES}) AS t) AS owners WHERE pg_has_role(session_user, relowner, 'MEMBER')
UNION ALL SELECT format('%s may become {DEFINER_ROLE}', session_user)
WHERE pg_has_role(session_user, '{DEFINER_ROLE}', 'MEMBER') ORDER BY 1
""",
)
TENANT_TABLES = """
SELECT relname::text FROM pg_catalog.pg_class JOIN pg_catalog.pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attname = 'tenant_id' ORDER BY 1
"""
