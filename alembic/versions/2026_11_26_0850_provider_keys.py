"""A tenant's own keys at providers, sealed with a key of the tenant's own.

Revision ID: 0033
Revises: 0032
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key, timestamps

revision: str = "0033"
down_revision: str | None = "0032"
branch_labels = None
depends_on = None

# At a start: whether the process was given what opens them. The names of master keys say nothing about them.
IN_USE = """
CREATE FUNCTION master_keys_in_use() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT DISTINCT k.master::text FROM {schema}.tenant_data_keys k $$
"""
# For the rotation, some at a time. What is then done to each is done inside its tenant.
TO_REWRAP = """
CREATE FUNCTION data_keys_to_rewrap(present text, after text, most integer) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT k.tenant_id::text FROM {schema}.tenant_data_keys k
    JOIN {schema}.tenants ON tenants.id = k.tenant_id AND tenants.erasing_at IS NULL
  WHERE k.master <> $1 AND k.tenant_id > $2 ORDER BY k.tenant_id LIMIT $3
$$
"""
FUNCTIONS = ("master_keys_in_use()", "data_keys_to_rewrap(text, text, integer)")
TABLES = ("tenant_data_keys", "provider_keys")


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "tenant_data_keys",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("master", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        *timestamps(),
        tenant_key("tenant_data_keys"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenant_data_keys"),
    )
    op.create_index("ix_tenant_data_keys_master", "tenant_data_keys", ["master"])
    op.create_table(
        "provider_keys",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("provider", sa.String(50), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("base_url", sa.Text()),
        sa.Column("last_four", sa.String(4)),
        sa.Column("set_by", sa.String(36), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        tenant_key("provider_keys"),
        sa.PrimaryKeyConstraint("tenant_id", "provider", name="pk_provider_keys"),
    )
    for table in TABLES:
        isolate(table)
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO llm_saas_app")
    op.execute("GRANT SELECT (tenant_id, master) ON tenant_data_keys TO llm_saas_definer")
    op.execute("CREATE POLICY definer_read ON tenant_data_keys FOR SELECT TO llm_saas_definer USING (true)")
    for function in (IN_USE, TO_REWRAP):
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, FUNCTIONS)


def downgrade() -> None:
    """The keys go."""
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for table in reversed(TABLES):
        op.drop_table(table)
