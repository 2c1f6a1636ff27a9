"""A tenant's webhook secret can be replaced.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("webhook_secret_version", sa.Integer(), server_default="0", nullable=False))
    op.add_column("tenants", sa.Column("webhook_secret_changed_at", sa.DateTime(timezone=True)))
    op.execute("GRANT UPDATE (webhook_secret_version, webhook_secret_changed_at) ON tenants TO llm_saas_app")


def downgrade() -> None:
    """Every tenant has its first secret again."""
    op.drop_column("tenants", "webhook_secret_changed_at")
    op.drop_column("tenants", "webhook_secret_version")
