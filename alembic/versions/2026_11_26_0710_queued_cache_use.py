"""A message that waits for a worker says what the worker may do with the cache.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("cache_use", sa.String(10)))
    op.execute("GRANT UPDATE (cache_use) ON messages TO llm_saas_app")


def downgrade() -> None:
    """What waits at that moment is asked for, and not kept."""
    op.drop_column("messages", "cache_use")
