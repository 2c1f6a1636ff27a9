from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class MessageContent(Base):
    """What of a message is more than a plain text, in or out: `messages.has_contents` says that it is here.

    `request`: its items, options and what its interface wants back. `output`: the items of its answer; NULL: text.
    `expires_at` nobody writes: when a text expires is counted from when it was sent (`app.messages.expired_texts`).
    """

    __tablename__ = "message_contents"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    request: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    output: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
