"""Texts that were stored below `/v1` expire: found along an index of their own, which plain messages are not in.

Revision ID: 0045
Revises: 0044
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import create_index_concurrently, drop_index_concurrently, hand_to_definer, quoted_schema
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

revision: str = "0045"
down_revision: str | None = "0044"
branch_labels = None
depends_on = None

INDEX = "ix_messages_expiring_texts"
EXPIRING = "api IS NOT NULL AND stored AND conversation_id IS NULL AND status <> 'pending'"
# By the oldest of each.
EXPIRED = """
CREATE FUNCTION tenants_with_expired_texts(days integer) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT t.id FROM {schema}.tenants t
  WHERE t.erasing_at IS NULL AND (
    SELECT m.created_at FROM {schema}.messages m
    WHERE m.tenant_id = t.id AND m.api IS NOT NULL AND m.stored AND m.conversation_id IS NULL AND m.status <> 'pending'
    ORDER BY m.created_at, m.id LIMIT 1
  ) < now() - make_interval(days => tenants_with_expired_texts.days)
$$
"""
FUNCTION = "tenants_with_expired_texts(integer)"


def upgrade() -> None:
    create_index_concurrently(INDEX, "messages", ["tenant_id", "created_at", "id"], postgresql_where=sa.text(EXPIRING))
    schema = quoted_schema()
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"GRANT UPDATE (content, stored) ON messages TO {RUNTIME_ROLE}")
    op.execute(f"GRANT SELECT (api, stored) ON messages TO {DEFINER_ROLE}")
    op.execute(EXPIRED.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])


def downgrade() -> None:
    """What has expired stays so."""
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"DROP FUNCTION IF EXISTS {FUNCTION}")
    op.execute(f"REVOKE SELECT (api, stored) ON messages FROM {DEFINER_ROLE}")
    op.execute(f"REVOKE UPDATE (content, stored) ON messages FROM {RUNTIME_ROLE}")
    drop_index_concurrently(INDEX, "messages")
