"""A tenant's vectors are made anew when the model changes, while the old ones serve.

Revision ID: 0030
Revises: 0029
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels = None
depends_on = None

# Whose vectors in use are of another model, or whose former ones have still to go.
TO_REEMBED = """
CREATE FUNCTION tenants_to_reembed(model text) RETURNS TABLE (tenant_id text, embedding_model text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT totals.tenant_id::text, totals.embedding_model::text FROM {schema}.document_totals totals
    JOIN {schema}.tenants ON tenants.id = totals.tenant_id AND tenants.erasing_at IS NULL
  WHERE (totals.embedding_model <> $1 OR totals.former_model IS NOT NULL)
    AND (totals.reembedding_until IS NULL OR totals.reembedding_until < now())
  ORDER BY totals.tenant_id
$$
"""
DEFINER = (
    "GRANT SELECT (tenant_id, embedding_model, former_model, reembedding_until) ON document_totals TO llm_saas_definer",
    "CREATE POLICY reembed ON document_totals FOR SELECT TO llm_saas_definer USING (true)",
)
FUNCTION = "tenants_to_reembed(text)"


def upgrade() -> None:
    schema = quoted_schema()
    op.add_column("document_totals", sa.Column("former_model", sa.String(255)))
    op.add_column("document_totals", sa.Column("moved_at", sa.DateTime(timezone=True)))
    op.add_column("document_totals", sa.Column("reembedding_until", sa.DateTime(timezone=True)))
    op.execute(TO_REEMBED.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])
    for statement in DEFINER:
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {FUNCTION}")
    op.execute("DROP POLICY reembed ON document_totals")
    op.execute("REVOKE SELECT (embedding_model) ON document_totals FROM llm_saas_definer")
    for column in ("reembedding_until", "moved_at", "former_model"):
        op.drop_column("document_totals", column)
