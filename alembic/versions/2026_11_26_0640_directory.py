"""The directory of several regions: which tenant lives where, and whose each email, name and key is.

With one region nobody asks for any of it. Revises: 0022
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels = None
depends_on = None

TABLES = ("region_identity", "directory_secret", "directory_tenants", "directory_claims")

# What this database is called; the first who asks names it. Known is a region whose tenants the directory has: one that
# has none, or whose tenants were listed.
IDENTIFY = """
CREATE FUNCTION identify_region(wanted text) RETURNS TABLE (name text, listed boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ BEGIN
  INSERT INTO {schema}.region_identity (single, name, listed)
    VALUES (true, $1, NOT EXISTS (SELECT FROM {schema}.tenants)) ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT i.name::text, i.listed FROM {schema}.region_identity i;
END $$
"""
# What emails are hashed with, sealed by the server's key; the first who brings one has made it.
HASHED_WITH = """
CREATE FUNCTION directory_secret(sealed text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ BEGIN
  INSERT INTO {schema}.directory_secret (single, sealed) VALUES (true, $1) ON CONFLICT DO NOTHING;
  RETURN (SELECT s.sealed FROM {schema}.directory_secret s);
END $$
"""
RESEAL = """
CREATE FUNCTION directory_reseal(old text, new text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ UPDATE {schema}.directory_secret s SET sealed = $2 WHERE s.sealed = $1 $$
"""
# By exact id or hash, at most one row each.
TENANT = """
CREATE FUNCTION directory_tenant(id text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT t.region FROM {schema}.directory_tenants t WHERE t.id = $1 $$
"""
FIND = """
CREATE FUNCTION directory_find(kind text, hash text) RETURNS TABLE (tenant_id text, region text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT t.id, t.region FROM {schema}.directory_claims c JOIN {schema}.directory_tenants t ON t.id = c.tenant_id
  WHERE c.kind = $1 AND c.hash = $2
$$
"""
# No row: it is claimed now, until it is confirmed or the time is over. A row: whose it is already, and whether one may
# ask that tenant's region if it really still is.
CLAIM = """
CREATE FUNCTION directory_claim(tenant_id text, region text, kind text, hash text, target_id text, life interval)
RETURNS TABLE (owner_id text, owner_region text, owned_id text, doubtful boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ BEGIN
  INSERT INTO {schema}.directory_tenants (id, region) VALUES ($1, $2) ON CONFLICT DO NOTHING;
  INSERT INTO {schema}.directory_claims (kind, hash, tenant_id, target_id, expires_at)
    VALUES ($3, $4, $1, $5, now() + $6) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    DELETE FROM {schema}.directory_tenants t
      WHERE t.id = $1 AND NOT EXISTS (SELECT FROM {schema}.directory_claims c WHERE c.tenant_id = $1);
    RETURN QUERY SELECT t.id::text, t.region::text, c.target_id::text, COALESCE(c.expires_at < now(), true)
      FROM {schema}.directory_claims c JOIN {schema}.directory_tenants t ON t.id = c.tenant_id
      WHERE c.kind = $3 AND c.hash = $4;
  END IF;
END $$
"""
# Confirmed, or given up. A tenant has a name: without any claim it was never made.
SETTLE = """
CREATE FUNCTION directory_settle(kind text, hash text, target_id text, stands boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ DECLARE owner text; BEGIN
  IF $4 THEN
    UPDATE {schema}.directory_claims c SET expires_at = NULL WHERE c.kind = $1 AND c.hash = $2 AND c.target_id = $3;
    RETURN;
  END IF;
  DELETE FROM {schema}.directory_claims c WHERE c.kind = $1 AND c.hash = $2 AND c.target_id = $3
    RETURNING c.tenant_id INTO owner;
  DELETE FROM {schema}.directory_tenants t
    WHERE t.id = owner AND NOT EXISTS (SELECT FROM {schema}.directory_claims c WHERE c.tenant_id = owner);
END $$
"""
# Taken for a minute, so that no two processes ask about the same.
DOUBTFUL = """
CREATE FUNCTION directory_doubtful(most integer)
RETURNS TABLE (kind text, hash text, target_id text, tenant_id text, region text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  UPDATE {schema}.directory_claims c SET asked_at = now()
  FROM (SELECT d.kind, d.hash, t.id, t.region FROM {schema}.directory_claims d
        JOIN {schema}.directory_tenants t ON t.id = d.tenant_id
        WHERE d.expires_at < now() AND (d.asked_at IS NULL OR d.asked_at < now() - interval '1 minute')
        ORDER BY d.expires_at LIMIT $1 FOR NO KEY UPDATE OF d SKIP LOCKED) old
  WHERE c.kind = old.kind AND c.hash = old.hash
  RETURNING c.kind, c.hash, c.target_id, old.id, old.region
$$
"""
FORGET = """
CREATE FUNCTION directory_forget(tenant_id text, region text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ DELETE FROM {schema}.directory_tenants t WHERE t.id = $1 AND t.region = $2 AND t.moving_to IS NULL $$
"""
# For the database's owner alone, who belongs to the definer role: which tenants there are, and that all are listed.
TENANTS_AFTER = """
CREATE FUNCTION tenants_after(id text, most integer) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT t.id FROM {schema}.tenants t WHERE t.id > $1 AND t.erasing_at IS NULL ORDER BY t.id LIMIT $2 $$
"""
LISTED = """
CREATE FUNCTION region_is_listed() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ UPDATE {schema}.region_identity i SET listed = true $$
"""
OPERATOR_FUNCTIONS = {"tenants_after(text, integer)": TENANTS_AFTER, "region_is_listed()": LISTED}
FUNCTIONS = {
    "identify_region(text)": IDENTIFY,
    "directory_secret(text)": HASHED_WITH,
    "directory_reseal(text, text)": RESEAL,
    "directory_tenant(text)": TENANT,
    "directory_find(text, text)": FIND,
    "directory_claim(text, text, text, text, text, interval)": CLAIM,
    "directory_settle(text, text, text, boolean)": SETTLE,
    "directory_doubtful(integer)": DOUBTFUL,
    "directory_forget(text, text)": FORGET,
}


def upgrade() -> None:
    schema = quoted_schema()
    create_tables()
    for table in TABLES:
        # No policy for the runtime role, and no grant: it has the functions.
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY directory ON {table} TO {DEFINER_ROLE} USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {DEFINER_ROLE}")
    for function in (*FUNCTIONS.values(), *OPERATOR_FUNCTIONS.values()):
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, (*FUNCTIONS, *OPERATOR_FUNCTIONS))
    for function in OPERATOR_FUNCTIONS:
        op.execute(f"SET LOCAL ROLE {DEFINER_ROLE}")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM {RUNTIME_ROLE}")
        op.execute("RESET ROLE")


def create_tables() -> None:
    op.create_table(
        "region_identity",
        sa.Column("single", sa.Boolean(), sa.CheckConstraint("single", name="single"), nullable=False),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("single", name="pk_region_identity"),
    )
    op.create_table(
        "directory_secret",
        sa.Column("single", sa.Boolean(), sa.CheckConstraint("single", name="single"), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("single", name="pk_directory_secret"),
    )
    op.create_table(
        "directory_tenants",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("region", sa.String(31), nullable=False),
        sa.Column("moving_to", sa.String(31)),
        sa.PrimaryKeyConstraint("id", name="pk_directory_tenants"),
    )
    op.create_table(
        "directory_claims",
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("target_id", sa.String(36), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("kind", "hash", name="pk_directory_claims"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["directory_tenants.id"], ondelete="CASCADE", name="fk_directory_claims_tenant_id"
        ),
    )
    op.create_index("ix_directory_claims_tenant_id", "directory_claims", ["tenant_id"])
    op.create_index(
        "ix_directory_claims_expires_at",
        "directory_claims",
        ["expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop the directory: the tenants of other regions are found no more."""
    for function in (*FUNCTIONS, *OPERATOR_FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    for table in reversed(TABLES):
        op.drop_table(table)
