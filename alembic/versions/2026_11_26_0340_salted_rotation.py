"""A refresh token's successor is salted, and no session is refreshed for ever.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("salt", sa.String(64)))
    op.execute("GRANT UPDATE (salt) ON sessions TO llm_saas_app")


def downgrade() -> None:
    op.drop_column("sessions", "salt")
