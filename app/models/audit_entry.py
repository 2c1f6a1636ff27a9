from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, Index, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class AuditEntry(Base):
    """Who did what, when and from where. The runtime role may add and read entries, and neither change nor delete one.

    No key leads to users: an entry outlives who it names.
    """

    __tablename__ = "audit_log"
    __table_args__ = tuple(
        Index(f"ix_audit_log_{'_'.join(columns)}_created_at_id", *columns, text("created_at DESC"), text("id DESC"))
        for columns in (
            ("tenant_id",),
            ("tenant_id", "actor_id"),
            ("tenant_id", "target_id"),
            ("tenant_id", "action"),
            ("tenant_id", "actor_id", "action"),
        )
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    action: Mapped[str] = mapped_column(String(50))
    actor_type: Mapped[str] = mapped_column(String(20))
    actor_id: Mapped[str | None] = mapped_column(String(36))
    api_key_id: Mapped[str | None] = mapped_column(String(36))
    target_id: Mapped[str | None] = mapped_column(String(36))
    address: Mapped[str | None] = mapped_column(String(45))
    request_id: Mapped[str | None] = mapped_column(String(128))
    own_request_id: Mapped[str | None] = mapped_column(String(36))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
