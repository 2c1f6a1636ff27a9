"""What is said of a stored chat completion may be said anew.

Revision ID: 0040
Revises: 0039
"""

from alembic import op
from app.db.roles import RUNTIME_ROLE

revision: str = "0040"
down_revision: str | None = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"GRANT UPDATE (metadata) ON messages TO {RUNTIME_ROLE}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"REVOKE UPDATE (metadata) ON messages FROM {RUNTIME_ROLE}")
