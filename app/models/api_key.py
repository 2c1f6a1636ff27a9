from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, ForeignKeyConstraint, Index, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class ApiKey(TimestampMixin, Base):
    """A machine's credential, acting for its user. What it may do never changes: another needs another key.

    `line_id` is set where it took the place of another: the id of the first of them. Their budgets are one.
    `key_hash` is the SHA-256 in hex; `prefix` is what of the key may be shown. Deleting the row revokes it.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"),
        Index("ix_api_keys_tenant_id_created_at_id", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_api_keys_tenant_id_user_id_created_at_id",
            "tenant_id",
            "user_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(36))
    line_id: Mapped[str | None] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(String(20))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(50)))
    # Public names; NULL: those of its tenant.
    allowed_models: Mapped[list[str] | None] = mapped_column(ARRAY(String(128)))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
