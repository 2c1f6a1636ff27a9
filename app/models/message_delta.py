from sqlalchemy import ForeignKey, Integer, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class MessageDelta(Base):
    """A piece of what one run of a message has written, from its character `start` on; gone once that has ended.

    `kind`: see `app.messages.log`; NULL: text. `number`: of the tool call that it belongs to.
    """

    __tablename__ = "message_deltas"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    start: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    kind: Mapped[str | None] = mapped_column(String(10))
    number: Mapped[int | None] = mapped_column(SmallInteger)
