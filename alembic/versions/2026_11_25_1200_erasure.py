"""Erasing a tenant: finding what a killed process left, and taking the rows that nobody else may delete.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

# One that nobody has worked on for a while: its process is gone. Claimed, so that no two go on with it.
ABANDONED = """
CREATE FUNCTION claim_abandoned_erasure(silence interval) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  UPDATE {schema}.tenants t SET erasing_at = now()
  FROM (SELECT e.id FROM {schema}.tenants e WHERE e.erasing_at < now() - $1
        ORDER BY e.erasing_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) abandoned
  WHERE t.id = abandoned.id RETURNING t.id
$$
"""

# The runtime role may not delete what these tables hold. Their policies let nothing go but the rows of a tenant that is
# being erased; the tenant is the transaction's.
HISTORY = """
CREATE FUNCTION erase_history(size integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH entries AS (
    DELETE FROM {schema}.audit_log a WHERE a.id IN (
      SELECT e.id FROM {schema}.audit_log e WHERE e.tenant_id = {schema}.app_tenant() LIMIT $1) RETURNING 1
  ), used AS (
    DELETE FROM {schema}.deleted_usage d WHERE d.id IN (
      SELECT u.id FROM {schema}.deleted_usage u WHERE u.tenant_id = {schema}.app_tenant() LIMIT $1) RETURNING 1
  )
  SELECT (SELECT count(*) FROM entries) + (SELECT count(*) FROM used)
$$
"""
DEFINER_FUNCTIONS = {"claim_abandoned_erasure(interval)": ABANDONED, "erase_history(integer)": HISTORY}
HISTORY_TABLES = ("audit_log", "deleted_usage")


def upgrade() -> None:
    schema = quoted_schema()
    op.create_index(
        "ix_tenants_erasing_at", "tenants", ["erasing_at"], postgresql_where=sa.text("erasing_at IS NOT NULL")
    )
    op.execute("GRANT UPDATE (erasing_at) ON tenants TO llm_saas_app")
    op.execute("GRANT SELECT (id, erasing_at), UPDATE (erasing_at) ON tenants TO llm_saas_definer")
    op.execute(
        "CREATE POLICY erasing ON tenants TO llm_saas_definer"
        " USING (erasing_at IS NOT NULL) WITH CHECK (erasing_at IS NOT NULL)"
    )
    for table in HISTORY_TABLES:
        op.execute(f"GRANT SELECT (id, tenant_id), DELETE ON {table} TO llm_saas_definer")
        op.execute(
            f"CREATE POLICY erase ON {table} TO llm_saas_definer"
            " USING (tenant_id IN (SELECT t.id FROM tenants t WHERE t.erasing_at IS NOT NULL))"
        )
    for function in DEFINER_FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, DEFINER_FUNCTIONS)


def downgrade() -> None:
    """Drop what this revision made. A tenant that was being erased is as if nobody had asked for it."""
    for function in DEFINER_FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for table in HISTORY_TABLES:
        op.execute(f"DROP POLICY erase ON {table}")
        op.execute(f"REVOKE SELECT (id, tenant_id), DELETE ON {table} FROM llm_saas_definer")
    op.execute("DROP POLICY erasing ON tenants")
    op.execute("REVOKE SELECT (id), UPDATE (erasing_at) ON tenants FROM llm_saas_definer")
    op.drop_index("ix_tenants_erasing_at", "tenants")
    # Forced, row-level security would hide the rows from a plain owner.
    op.execute("ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE tenants SET erasing_at = NULL WHERE erasing_at IS NOT NULL")
    op.execute("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
