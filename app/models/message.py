from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class MessageStatus(StrEnum):
    """A message's life: `pending` until its provider call ends, then one of the others for good."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Message(TimestampMixin, Base):
    """A prompt and its answer.

    `lease_expires_at` is set while a process works on it; `attempts` counts the runs, the first included. The claim is
    what this run holds of the tenant's and the user's budget, from `claimed_at` until it ends (NULL: without a price).

    `queue_tag` is set while it waits for a worker: the smallest is next, and its lease is how long it may wait.
    `taken_at`: when a worker took it. `cache_use`: what it may do with the cache, `share` or `keep`; NULL: nothing.

    `api`: the interface that it came by; NULL: `POST /messages`. `asked_model`: the name that was asked for; NULL: the
    default. `previous_id`: the message whose conversation it goes on with. Not `stored`: there is no text of it here,
    nor elsewhere. `has_contents`: `message_contents` holds more of it; NULL: it does not.

    `documents`: where in the tenant's documents it asks; NULL: it does not. `citations`: the passages in its prompt.
    """

    __tablename__ = "messages"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"),
        CheckConstraint("status IN ('pending', 'completed', 'failed', 'cancelled')", name="status"),
        Index("ix_messages_tenant_id_created_at_id", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_messages_tenant_id_user_id_created_at_id",
            "tenant_id",
            "user_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
        ForeignKeyConstraint(
            ["tenant_id", "conversation_id"], ["conversations.tenant_id", "conversations.id"], ondelete="CASCADE"
        ),
        Index(
            "ix_messages_tenant_id_conversation_id_created_at_id",
            "tenant_id",
            "conversation_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
        Index(
            "uq_messages_pending_conversation",
            "tenant_id",
            "conversation_id",
            unique=True,
            postgresql_where=text("conversation_id IS NOT NULL AND status = 'pending'"),
        ),
        Index("ix_messages_webhook_due_at", "webhook_due_at", postgresql_where=text("webhook_due_at IS NOT NULL")),
        Index("ix_messages_queue_tag_id", "queue_tag", "id", postgresql_where=text("queue_tag IS NOT NULL")),
        Index(
            "ix_messages_tenant_id_queue_tag", "tenant_id", "queue_tag", postgresql_where=text("queue_tag IS NOT NULL")
        ),
        Index(
            "ix_messages_tenant_id_taken",
            "tenant_id",
            postgresql_where=text("taken_at IS NOT NULL AND status = 'pending'"),
        ),
        *(
            Index(
                f"ix_messages_stored_chats_{'_'.join(owner)}_created_at_id",
                *owner,
                "created_at",
                "id",
                postgresql_where=text("api = 'chat' AND stored AND status = 'completed'"),
            )
            for owner in (["tenant_id"], ["tenant_id", "user_id"])
        ),
        # What clients of other protocols stored, and what expires of it.
        Index(
            "ix_messages_expiring_texts",
            "tenant_id",
            "created_at",
            "id",
            postgresql_where=text("api IS NOT NULL AND stored AND conversation_id IS NULL AND status <> 'pending'"),
        ),
        # What runs, failed or was cancelled: for lists of those, and for finding what was abandoned.
        Index(
            "ix_messages_status_tenant_id_created_at_id",
            "status",
            "tenant_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("status <> 'completed'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    response: Mapped[str] = mapped_column(Text, server_default="")
    user_id: Mapped[str] = mapped_column(String(36))
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    conversation_id: Mapped[str | None] = mapped_column(String(36))
    # Whose budgets it claims from beside the tenant's and the user's: of the transaction that reserves it.
    api_key_line: Mapped[str | None] = mapped_column(
        String(36), server_default=text("NULLIF(current_setting('app.key_line', true), '')")
    )
    status: Mapped[str] = mapped_column(String(20), server_default=MessageStatus.PENDING.value)
    error_code: Mapped[str | None] = mapped_column(String(50))
    finish_reason: Mapped[str | None] = mapped_column(String(20))
    model: Mapped[str | None] = mapped_column(String(255))
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    cached_tokens: Mapped[int | None] = mapped_column(Integer)
    cost_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    # By which its last run was settled.
    price: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    cached: Mapped[bool] = mapped_column(Boolean, server_default="false")
    attempts: Mapped[int] = mapped_column(Integer, server_default="1")
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default="false")
    claim_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    claimed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))
    webhook_url: Mapped[str | None] = mapped_column(Text)
    webhook_due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    webhook_attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    queue_tag: Mapped[int | None] = mapped_column(BigInteger)
    cache_use: Mapped[str | None] = mapped_column(String(10))
    taken_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Of the trace that it was sent in, where that is recorded.
    traceparent: Mapped[str | None] = mapped_column(String(55))
    documents: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    citations: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    api: Mapped[str | None] = mapped_column(String(20))
    asked_model: Mapped[str | None] = mapped_column(String(255))
    reasoning_tokens: Mapped[int | None] = mapped_column(Integer)
    said_of_it: Mapped[dict[str, str] | None] = mapped_column("metadata", JSONB(none_as_null=True))
    previous_id: Mapped[str | None] = mapped_column(String(36))
    stored: Mapped[bool] = mapped_column(Boolean, server_default="true")
    has_contents: Mapped[bool | None] = mapped_column(Boolean)
    lease_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Nobody reads it but `search_messages` and `index_messages`. As PostgreSQL spells it back, so that Alembic sees no
    # difference.
    words: Mapped[str | None] = mapped_column(
        TSVECTOR,
        Computed(
            "CASE WHEN ((status)::text = 'pending'::text) THEN NULL::tsvector ELSE search_words(content, response) END",
            persisted=True,
        ),
    )
