from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class TenantDataKey(TimestampMixin, Base):
    """What a tenant's secrets are sealed with, wrapped by the master key that `master` names."""

    __tablename__ = "tenant_data_keys"
    __table_args__ = (Index("ix_tenant_data_keys_master", "master"),)

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    master: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class ProviderKey(Base):
    """A tenant's own key at a provider, sealed. `last_four` is what of it may be shown; NULL: it is too short for that.

    `base_url` NULL: where the service asks that provider. No key leads to users: it is the tenant's, whoever set it.
    """

    __tablename__ = "provider_keys"

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(String(50), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    base_url: Mapped[str | None] = mapped_column(Text)
    last_four: Mapped[str | None] = mapped_column(String(4))
    set_by: Mapped[str] = mapped_column(String(36))
    set_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
