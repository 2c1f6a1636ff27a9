"""Why a provider stopped writing.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa

from alembic import op
from app.db.roles import RUNTIME_ROLE

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("finish_reason", sa.String(20)))
    op.execute(f"GRANT UPDATE (finish_reason) ON messages TO {RUNTIME_ROLE}")


def downgrade() -> None:
    """Forgets the reasons."""
    op.drop_column("messages", "finish_reason")
