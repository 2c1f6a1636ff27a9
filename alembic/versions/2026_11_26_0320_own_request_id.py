"""The audit log holds the service's own id of a request beside the caller's.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_log", sa.Column("own_request_id", sa.String(36)))
    op.execute("GRANT INSERT (own_request_id) ON audit_log TO llm_saas_app")


def downgrade() -> None:
    """Forget the ids."""
    op.drop_column("audit_log", "own_request_id")
