from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, DateTime, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class RegionIdentity(Base):
    """One row: what this database is called where there are several, and whether its tenants are in the directory."""

    __tablename__ = "region_identity"
    __table_args__ = (CheckConstraint("single", name="single"),)

    single: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    name: Mapped[str] = mapped_column(String(31))
    listed: Mapped[bool] = mapped_column(Boolean)


class DirectorySecret(Base):
    """One row, in the first region alone: what the directory's hashes are made with, sealed by the server's key."""

    __tablename__ = "directory_secret"
    __table_args__ = (CheckConstraint("single", name="single"),)

    single: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)


class DirectoryTenant(Base):
    """Where a tenant lives; in the first region alone. `moving_to`: where to it is being moved."""

    __tablename__ = "directory_tenants"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    region: Mapped[str] = mapped_column(String(31))
    moving_to: Mapped[str | None] = mapped_column(String(31))


class DirectoryClaim(Base):
    """Whose an email, a tenant's name or an API key is, by its keyed hash; in the first region alone.

    `target_id` is the user, tenant or key. `expires_at` NULL: confirmed. Until then its region may not have it.
    """

    __tablename__ = "directory_claims"
    __table_args__ = (
        Index("ix_directory_claims_tenant_id", "tenant_id"),
        Index("ix_directory_claims_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("directory_tenants.id", ondelete="CASCADE"))
    target_id: Mapped[str] = mapped_column(String(36))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    asked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
