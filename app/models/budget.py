from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, ForeignKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class Budget(TimestampMixin, Base):
    """What a tenant, or one of its users, may spend in a month (UTC), in millionths of a US dollar.

    `user_id` NULL is the tenant's own. `limit_micro_usd` NULL: no limit. `ceiling_micro_usd` is the operator's, of a
    tenant's own row alone; NULL: what the service gives to all. The smaller of the two holds. `spent` and `reserved`
    are those of the month that begins with `period`; in a later month they count as zero.
    """

    __tablename__ = "budgets"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"),
        UniqueConstraint("tenant_id", "user_id", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(String(36))
    limit_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    ceiling_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    period: Mapped[date] = mapped_column(Date)
    spent_micro_usd: Mapped[int] = mapped_column(BigInteger)
    reserved_micro_usd: Mapped[int] = mapped_column(BigInteger)
