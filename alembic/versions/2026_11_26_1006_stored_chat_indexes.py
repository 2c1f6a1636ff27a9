"""Stored chat completions are listed along indexes of their own, which plain messages are not in.

Revision ID: 0041
Revises: 0040
"""

import sqlalchemy as sa

from app.db.migration import create_index_concurrently, drop_index_concurrently

revision: str = "0041"
down_revision: str | None = "0040"
branch_labels = None
depends_on = None

STORED = "api = 'chat' AND stored AND status = 'completed'"
INDEXES = {
    "ix_messages_stored_chats_tenant_id_created_at_id": ["tenant_id", "created_at", "id"],
    "ix_messages_stored_chats_tenant_id_user_id_created_at_id": ["tenant_id", "user_id", "created_at", "id"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        create_index_concurrently(name, "messages", columns, postgresql_where=sa.text(STORED))


def downgrade() -> None:
    for name in INDEXES:
        drop_index_concurrently(name, "messages")
