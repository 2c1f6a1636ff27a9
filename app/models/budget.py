from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, TimestampMixin


class PeriodUnit(StrEnum):
    """How long a budget lasts: a day, a week from Monday on, a month; all in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


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


class PeriodBudget(TimestampMixin, Base):
    """What a tenant or a user may spend in a day or a week, and an API key in any period, in micro-USD.

    `holder`: "" for the tenant's own, else the id of the user, or of the line of keys: a key and what took its place.
    `user_id` is the user, or the key's. The rest is as in `Budget`.
    """

    __tablename__ = "period_budgets"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"),
        CheckConstraint("period_unit IN ('day', 'week', 'month')", name="period_unit"),
        CheckConstraint("(holder = '') = (user_id IS NULL)", name="holder"),
        Index("ix_period_budgets_tenant_id_user_id", "tenant_id", "user_id"),
    )

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    holder: Mapped[str] = mapped_column(String(36), primary_key=True)
    period_unit: Mapped[str] = mapped_column(String(5), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(String(36))
    limit_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    period: Mapped[date] = mapped_column(Date)
    spent_micro_usd: Mapped[int] = mapped_column(BigInteger)
    reserved_micro_usd: Mapped[int] = mapped_column(BigInteger)


class BudgetAlert(TimestampMixin, Base):
    """That a budget was spent to `threshold` percent, once in its period. `due_at`: of its webhook; NULL: over.

    `holder` as in `PeriodBudget`, for the month's budgets too; `kind`: who that is. The amounts are of that moment.
    """

    __tablename__ = "budget_alerts"
    __table_args__ = (
        CheckConstraint("kind IN ('tenant', 'user', 'key')", name="kind"),
        Index("ix_budget_alerts_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    tenant_id: Mapped[str] = mapped_column(String(36), ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    holder: Mapped[str] = mapped_column(String(36), primary_key=True)
    period_unit: Mapped[str] = mapped_column(String(5), primary_key=True)
    period: Mapped[date] = mapped_column(Date, primary_key=True)
    threshold: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(String(6))
    limit_micro_usd: Mapped[int] = mapped_column(BigInteger)
    spent_micro_usd: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
