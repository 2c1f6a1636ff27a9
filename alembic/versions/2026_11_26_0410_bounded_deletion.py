"""Users and conversations are deleted in bounded transactions, by indexes that every key to a user has.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("deleting_at", sa.DateTime(timezone=True)))
    op.execute("GRANT UPDATE (deleting_at) ON conversations TO llm_saas_app")
    op.execute("GRANT DELETE ON idempotency_keys TO llm_saas_app")
    for table in ("api_keys", "invites"):
        # Not of the two columns alone: the smallest index is the one that a planner without statistics takes for all.
        columns = ["tenant_id", "user_id", sa.text("created_at DESC"), sa.text("id DESC")]
        op.create_index(f"ix_{table}_tenant_id_user_id_created_at_id", table, columns)


def downgrade() -> None:
    """A conversation whose deletion goes on appears again with what is left of it."""
    for table in ("api_keys", "invites"):
        op.drop_index(f"ix_{table}_tenant_id_user_id_created_at_id", table)
    op.execute("REVOKE DELETE ON idempotency_keys FROM llm_saas_app")
    op.drop_column("conversations", "deleting_at")
