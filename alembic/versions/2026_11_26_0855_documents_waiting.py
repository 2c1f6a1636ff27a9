"""How many documents wait to be taken in can be asked.

Revision ID: 0032
Revises: 0031
"""

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels = None
depends_on = None

# By the index of what is unfinished. The age is that of the last thing that happened to it.
WAITING = """
CREATE FUNCTION document_queue() RETURNS TABLE (queued bigint, processing bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
  SELECT count(*) FILTER (WHERE d.status = 'queued'), count(*) FILTER (WHERE d.status = 'processing'),
    COALESCE(GREATEST(EXTRACT(epoch FROM now() - min(d.updated_at)), 0), 0)::double precision
  FROM {schema}.documents d WHERE d.status IN ('queued', 'processing') AND d.deleting_at IS NULL
$$
"""
FUNCTION = "document_queue()"


def upgrade() -> None:
    schema = quoted_schema()
    op.execute(WAITING.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {FUNCTION}")
