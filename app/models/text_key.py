from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class TextKeyNote(TimestampMixin, Base):
    """That texts of the tenant are sealed. The key itself is in no database; `master` names what wraps it."""

    __tablename__ = "text_keys"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    master: Mapped[str] = mapped_column(String(16))
