"""Which tenants were erased stands in a table, to be kept outside: a restored backup brings them back.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema
from app.db.roles import RUNTIME_ROLE

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels = None
depends_on = None

# As it was, and noted in the same transaction: from its commit on there is no way back.
BEGIN_ERASURE = """
CREATE OR REPLACE FUNCTION begin_erasure(name text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH marked AS (
    UPDATE {schema}.tenants t SET erasing_at = now()
    WHERE t.id = {schema}.app_tenant() AND t.name = $1 AND EXISTS (
      SELECT FROM {schema}.users u
      WHERE u.tenant_id = {schema}.app_tenant() AND u.id = current_setting('app.user_id', true)
        AND u.role = 'admin' AND u.disabled_at IS NULL)
    RETURNING t.id, pg_notify('llm_saas_messages', 'erase ' || t.id)
  ){noted}
  SELECT EXISTS (SELECT FROM marked)
$$
"""
NOTED = """, noted AS (
    INSERT INTO {schema}.erased_tenants (id) SELECT m.id FROM marked m ON CONFLICT (id) DO NOTHING
  )"""
# For the database's owner alone: a tenant that was erased before a backup was restored which still holds it.
ERASE_AGAIN = """
CREATE FUNCTION erase_tenant_again(tenant_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
BEGIN
  PERFORM set_config('app.tenant_id', $1, true), set_config('app.user_id', '', true),
    set_config('app.key_id', '', true);
  UPDATE {schema}.tenants t SET erasing_at = now() WHERE t.id = $1;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO {schema}.erased_tenants (id) VALUES ($1) ON CONFLICT (id) DO NOTHING;
  PERFORM pg_notify('llm_saas_messages', 'erase ' || $1);
  RETURN true;
END $$
"""
AGAIN = "erase_tenant_again(text)"


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "erased_tenants",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_erased_tenants"),
    )
    # Nothing of a tenant: no row of its own is left to guard. The runtime role has no business here.
    op.execute("GRANT SELECT, INSERT ON erased_tenants TO llm_saas_definer")
    op.execute(BEGIN_ERASURE.format(schema=schema, noted=NOTED.format(schema=schema)))
    op.execute(ERASE_AGAIN.format(schema=schema))
    hand_to_definer(schema, [AGAIN])
    op.execute("SET LOCAL ROLE llm_saas_definer")
    op.execute(f"REVOKE ALL ON FUNCTION {AGAIN} FROM {RUNTIME_ROLE}")
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Forget which tenants were erased: export it before."""
    op.execute(f"DROP FUNCTION {AGAIN}")
    op.execute(BEGIN_ERASURE.format(schema=quoted_schema(), noted=""))
    op.drop_table("erased_tenants")
