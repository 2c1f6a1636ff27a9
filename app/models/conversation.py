from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, ForeignKeyConstraint, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class Conversation(TimestampMixin, Base):
    """Messages that are sent with the turns before them. `system_prompt` opens each call.

    `said_of_it`: up to 16 pairs of who made it.
    `deleting_at`: since when its many messages are being deleted, and nobody finds it any more.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"),
        UniqueConstraint("tenant_id", "id"),
        Index("ix_conversations_tenant_id_created_at_id", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_conversations_tenant_id_user_id_created_at_id",
            "tenant_id",
            "user_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(36))
    title: Mapped[str | None] = mapped_column(Text)
    system_prompt: Mapped[str | None] = mapped_column(Text)
    said_of_it: Mapped[dict[str, str] | None] = mapped_column("metadata", JSONB(none_as_null=True))
    deleting_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
