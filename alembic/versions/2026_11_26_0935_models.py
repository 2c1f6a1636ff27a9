"""A tenant and an API key say which models may be asked for; a message says by which price it was settled.

Revision ID: 0038
Revises: 0037
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

# squawk: ban-drop-function, what takes its place returns one column more
revision: str = "0038"
down_revision: str | None = "0037"
branch_labels = None
depends_on = None

NAMES = ARRAY(sa.String(128))
LOOKUP = """
CREATE FUNCTION api_key_lookup(key_hash text)
RETURNS TABLE (id text, tenant_id text, user_id text, scopes text[]{returned})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.user_id, k.scopes{selected} FROM {schema}.api_keys k WHERE k.key_hash = $1 $$
"""


def look_up(returned: str = "", selected: str = "") -> None:
    """The same in place of the one before: what was prepared for that names its columns, and goes on."""
    schema = quoted_schema()
    op.execute("DROP FUNCTION api_key_lookup(text)")
    op.execute(LOOKUP.format(schema=schema, returned=returned, selected=selected))
    hand_to_definer(schema, ["api_key_lookup(text)"])


def upgrade() -> None:
    op.add_column("tenants", sa.Column("allowed_models", NAMES))
    op.add_column("tenants", sa.Column("default_model", sa.String(128)))
    op.add_column("api_keys", sa.Column("allowed_models", NAMES))
    op.add_column("messages", sa.Column("price", JSONB(none_as_null=True)))
    op.execute("GRANT UPDATE (allowed_models, default_model) ON tenants TO llm_saas_app")
    op.execute("GRANT UPDATE (price) ON messages TO llm_saas_app")
    op.execute("GRANT UPDATE (asked_model) ON messages TO llm_saas_app")
    op.execute("GRANT SELECT (allowed_models) ON api_keys TO llm_saas_definer")
    look_up(", allowed_models text[]", ", k.allowed_models::text[]")


def downgrade() -> None:
    """All models for everybody."""
    look_up()
    op.execute("REVOKE UPDATE (asked_model) ON messages FROM llm_saas_app")
    op.drop_column("messages", "price")
    op.drop_column("api_keys", "allowed_models")
    for name in ("default_model", "allowed_models"):
        op.drop_column("tenants", name)
