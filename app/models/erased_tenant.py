from datetime import datetime

from sqlalchemy import DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class ErasedTenant(Base):
    """A tenant that is no more, or will be soon: kept to be exported, and erased again after a restore."""

    __tablename__ = "erased_tenants"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
