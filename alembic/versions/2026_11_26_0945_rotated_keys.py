"""A key that is replaced ends when its successor has taken over.

Revision ID: 0039
Revises: 0038
"""

from alembic import op

revision: str = "0039"
down_revision: str | None = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT UPDATE (expires_at) ON api_keys TO llm_saas_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (expires_at) ON api_keys FROM llm_saas_app")
