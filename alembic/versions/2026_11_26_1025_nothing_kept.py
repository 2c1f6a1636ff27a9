"""A tenant may keep nothing: no text of its messages, and no conversation.

Revision ID: 0042
Revises: 0041
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

revision: str = "0042"
down_revision: str | None = "0041"
# squawk: constraint-missing-not-valid, of the few rows of `tenants`
# squawk: ban-drop-constraint, what takes its place allows more
branch_labels = None
depends_on = None

CHECK = "ck_tenants_message_retention_days"
# By the oldest of each, which may be one that runs: then there is nothing to do yet, and the next look finds it again.
# Of a tenant that keeps nothing what is left is as old as its wish, or came at the same moment.
OLD = """
CREATE OR REPLACE FUNCTION tenants_with_old_messages() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT t.id FROM {schema}.tenants t
  WHERE t.message_retention_days IS NOT NULL AND t.erasing_at IS NULL AND ((
    SELECT m.created_at FROM {schema}.messages m WHERE m.tenant_id = t.id ORDER BY m.created_at, m.id LIMIT 1
  ) < {limit}{further})
$$
"""
DAYS = "now() - make_interval(days => t.message_retention_days)"
LIMIT = f"CASE t.message_retention_days WHEN 0 THEN t.nothing_kept_since + interval '1 minute' ELSE {DAYS} END"
WITH_CONVERSATIONS = """ OR (
    t.message_retention_days = 0 AND EXISTS (SELECT FROM {schema}.conversations c WHERE c.tenant_id = t.id))"""
FUNCTION = "tenants_with_old_messages()"


def replace(limit: str, further: str = "") -> None:
    schema = quoted_schema()
    op.execute(f"GRANT CREATE ON SCHEMA {schema} TO {DEFINER_ROLE}")
    op.execute(OLD.format(schema=schema, limit=limit, further=further.format(schema=schema)))
    hand_to_definer(schema, [FUNCTION])


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.add_column("tenants", sa.Column("nothing_kept_since", sa.DateTime(timezone=True)))
    op.execute(f"ALTER TABLE tenants DROP CONSTRAINT {CHECK}")
    op.execute(f"ALTER TABLE tenants ADD CONSTRAINT {CHECK} CHECK (message_retention_days BETWEEN 0 AND 36500)")
    op.execute(f"GRANT UPDATE (nothing_kept_since) ON tenants TO {RUNTIME_ROLE}")
    op.execute(f"GRANT SELECT (nothing_kept_since) ON tenants TO {DEFINER_ROLE}")
    op.execute(f"GRANT SELECT (tenant_id) ON conversations TO {DEFINER_ROLE}")
    op.execute(f"CREATE POLICY look ON conversations FOR SELECT TO {DEFINER_ROLE} USING (true)")
    replace(LIMIT, WITH_CONVERSATIONS)


def downgrade() -> None:
    """Who keeps nothing keeps things for a day."""
    op.execute("SET LOCAL lock_timeout = '3s'")
    replace(DAYS)
    op.execute("DROP POLICY look ON conversations")
    op.execute(f"REVOKE SELECT (tenant_id) ON conversations FROM {DEFINER_ROLE}")
    # Its owner sees no row of it else.
    op.execute("ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE tenants SET message_retention_days = 1 WHERE message_retention_days = 0")
    op.execute("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE tenants DROP CONSTRAINT {CHECK}")
    op.execute(f"ALTER TABLE tenants ADD CONSTRAINT {CHECK} CHECK (message_retention_days BETWEEN 1 AND 36500)")
    op.drop_column("tenants", "nothing_kept_since")
