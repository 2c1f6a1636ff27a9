from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class SearchBlock(Base):
    """The words of a stretch of a tenant's messages: from after the block before it to its own newest.

    `words` NULL: one of its messages has changed or gone, and they are to be made anew. Nothing but the functions of
    the search reads or writes it.
    """

    __tablename__ = "search_blocks"
    __table_args__ = (
        Index("ix_search_blocks_words", "words", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index("ix_search_blocks_tenant_id", "tenant_id", postgresql_where=text("words IS NULL")),
    )

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    newest_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    newest_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    words: Mapped[str | None] = mapped_column(TSVECTOR)
