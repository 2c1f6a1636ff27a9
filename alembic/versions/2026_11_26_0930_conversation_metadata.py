"""What clients note of a conversation.

Revision ID: 0037
Revises: 0036
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision: str = "0037"
down_revision: str | None = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("conversations", sa.Column("metadata", JSONB(none_as_null=True)))
    op.execute("GRANT UPDATE (metadata) ON conversations TO llm_saas_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("conversations", "metadata")
