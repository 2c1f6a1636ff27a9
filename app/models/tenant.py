from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, DateTime, Index, Integer, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class RegistrationMode(StrEnum):
    OPEN = "open"
    INVITE = "invite"
    CLOSED = "closed"


class MessageVisibility(StrEnum):
    """Whose messages and conversations a user sees: the tenant's or its own. Admins see all."""

    TENANT = "tenant"
    OWN = "own"


class Tenant(TimestampMixin, Base):
    """`erasing_at` is set from the moment that its erasure begins; it is when somebody last worked on it.

    `cache_epoch` goes into the names and keys of what is kept of its answers: with a new one nothing is found or read.
    """

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("registration IN ('open', 'invite', 'closed')", name="registration"),
        CheckConstraint("message_visibility IN ('tenant', 'own')", name="message_visibility"),
        CheckConstraint(
            "cache_ttl_seconds IS NULL OR (cache_ttl_seconds BETWEEN 1 AND 86400 AND cache_epoch IS NOT NULL)",
            name="cache_ttl_seconds",
        ),
        CheckConstraint("message_retention_days BETWEEN 0 AND 36500", name="message_retention_days"),
        CheckConstraint("moving IN ('leaving', 'frozen', 'arriving')", name="moving"),
        Index("ix_tenants_erasing_at", "erasing_at", postgresql_where=text("erasing_at IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    registration: Mapped[str] = mapped_column(String(20), server_default="open")
    message_visibility: Mapped[str] = mapped_column(String(20), server_default="tenant")
    webhook_secret_version: Mapped[int] = mapped_column(Integer, server_default="0")
    webhook_secret_changed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    cache_ttl_seconds: Mapped[int | None] = mapped_column(Integer)
    cache_epoch: Mapped[str | None] = mapped_column(String(36))
    # 0: nothing, since `nothing_kept_since`.
    message_retention_days: Mapped[int | None] = mapped_column(Integer)
    nothing_kept_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Public names; NULL: all models, and the service's default.
    allowed_models: Mapped[list[str] | None] = mapped_column(ARRAY(String(128)))
    default_model: Mapped[str | None] = mapped_column(String(128))
    # Where budgets' thresholds are told; NULL: nowhere.
    event_webhook_url: Mapped[str | None] = mapped_column(String(2048))
    erasing_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    moving: Mapped[str | None] = mapped_column(String(10))
    moving_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
