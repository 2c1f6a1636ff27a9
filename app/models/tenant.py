from enum import StrEnum

from sqlalchemy import CheckConstraint, String
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
    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("registration IN ('open', 'invite', 'closed')", name="registration"),
        CheckConstraint("message_visibility IN ('tenant', 'own')", name="message_visibility"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    registration: Mapped[str] = mapped_column(String(20), server_default="open")
    message_visibility: Mapped[str] = mapped_column(String(20), server_default="tenant")
