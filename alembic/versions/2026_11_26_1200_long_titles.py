"""Titles of conversations may be longer than they are said: sealed, they are.

By itself: it is a lock that requests wait behind, and what waits with it holds nothing else.

Revision ID: 0047
Revises: 0046
"""

import sqlalchemy as sa

from alembic import op

# squawk: changing-column-type, from varchar to text no row is read or written
revision: str = "0047"
down_revision: str | None = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("conversations", "title", type_=sa.Text(), existing_type=sa.String(255))


def downgrade() -> None:
    """Titles that are sealed go."""
    op.alter_column(
        "conversations",
        "title",
        type_=sa.String(255),
        existing_type=sa.Text(),
        postgresql_using="CASE WHEN length(title) <= 255 THEN title END",
    )
