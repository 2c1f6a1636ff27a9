from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class UserRole(StrEnum):
    ADMIN = "admin"
    USER = "user"


class User(TimestampMixin, Base):
    """A person in one tenant. `email` is stored normalised and unique over all tenants.

    Raising `token_version`, or setting `disabled_at`, ends every access token of the user at the next request.
    """

    __tablename__ = "users"
    __table_args__ = (
        # What children point at: a plain foreign key would accept another tenant's row.
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("role IN ('admin', 'user')", name="role"),
        Index("ix_users_tenant_id_created_at_id", "tenant_id", text("created_at DESC"), text("id DESC")),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    hashed_password: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(20))
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    token_version: Mapped[int] = mapped_column(Integer, server_default="0")
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
