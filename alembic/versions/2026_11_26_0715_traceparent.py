"""A message keeps the trace that it was sent in, for whoever goes on with it; how many webhooks are due can be asked.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels = None
depends_on = None

# By the index of what is due.
WEBHOOKS_DUE = """
CREATE FUNCTION webhooks_due() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$ SELECT count(*) FROM {schema}.messages m WHERE m.webhook_due_at <= now() $$
"""


def upgrade() -> None:
    op.add_column("messages", sa.Column("traceparent", sa.String(55)))
    op.execute("GRANT UPDATE (traceparent) ON messages TO llm_saas_app")
    schema = quoted_schema()
    op.execute(WEBHOOKS_DUE.format(schema=schema))
    hand_to_definer(schema, ("webhooks_due()",))


def downgrade() -> None:
    op.execute("DROP FUNCTION webhooks_due()")
    op.drop_column("messages", "traceparent")
