"""A tenant says for how many days it keeps messages.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0020"
down_revision: str | None = "0019"
# squawk: constraint-missing-not-valid, of a column that is new: a look at the few rows of `tenants`
branch_labels = None
depends_on = None

# By the oldest of each, which may be one that runs: then there is nothing to do yet, and the next look finds it again.
OLD = """
CREATE FUNCTION tenants_with_old_messages() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT t.id FROM {schema}.tenants t
  WHERE t.message_retention_days IS NOT NULL AND t.erasing_at IS NULL AND (
    SELECT m.created_at FROM {schema}.messages m WHERE m.tenant_id = t.id ORDER BY m.created_at, m.id LIMIT 1
  ) < now() - make_interval(days => t.message_retention_days)
$$
"""
FUNCTION = "tenants_with_old_messages()"


def upgrade() -> None:
    schema = quoted_schema()
    op.add_column("tenants", sa.Column("message_retention_days", sa.Integer()))
    op.execute(
        "ALTER TABLE tenants ADD CONSTRAINT ck_tenants_message_retention_days"
        " CHECK (message_retention_days BETWEEN 1 AND 36500)"
    )
    op.execute("GRANT UPDATE (message_retention_days) ON tenants TO llm_saas_app")
    op.execute("GRANT SELECT (message_retention_days) ON tenants TO llm_saas_definer")
    op.execute(OLD.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])


def downgrade() -> None:
    """Keep everything from now on."""
    op.execute(f"DROP FUNCTION {FUNCTION}")
    op.execute("ALTER TABLE tenants DROP CONSTRAINT ck_tenants_message_retention_days")
    op.drop_column("tenants", "message_retention_days")
