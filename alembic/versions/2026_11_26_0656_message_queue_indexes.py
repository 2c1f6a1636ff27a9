"""The queue is read in its order, whatever else the table holds.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa

from app.db.migration import create_index_concurrently, drop_index_concurrently

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels = None
depends_on = None

QUEUED = "queue_tag IS NOT NULL"
INDEXES = {
    "ix_messages_queue_tag_id": (["queue_tag", "id"], QUEUED),
    "ix_messages_tenant_id_queue_tag": (["tenant_id", "queue_tag"], QUEUED),
    "ix_messages_tenant_id_taken": (["tenant_id"], "taken_at IS NOT NULL AND status = 'pending'"),
}


def upgrade() -> None:
    for name, (columns, where) in INDEXES.items():
        create_index_concurrently(name, "messages", columns, postgresql_where=sa.text(where))


def downgrade() -> None:
    for name in INDEXES:
        drop_index_concurrently(name, "messages")
