"""What a tenant, its users and its API keys may spend in a period. Messages claim it and settle it when they commit.

The month's budgets of tenants and users are rows of `budgets`, all others of `period_budgets`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, String, TextClause, bindparam, text

from app.core.errors import NotFound
from app.core.ids import is_id, new_id
from app.db.execution import Connection
from app.db.session import Session, TenantSession
from app.models import PeriodUnit
from app.models.rows import BudgetRow
from app.services import period_budgets as of_periods
from app.services.audit_service import record_by

_MONTH = "date_trunc('month', now() AT TIME ZONE 'UTC')"
_RESETS_AT = f"({_MONTH} + interval '1 month') AT TIME ZONE 'UTC'"
_SHOWN = f"""
  budgets.user_id, CAST(NULL AS varchar) AS api_key_id, 'month' AS period, budgets.limit_micro_usd,
  CASE WHEN budgets.user_id IS NULL THEN COALESCE(budgets.ceiling_micro_usd, :ceiling) END AS ceiling_micro_usd,
  CASE WHEN budgets.period = {_MONTH}::date THEN budgets.spent_micro_usd ELSE 0 END AS spent_micro_usd,
  CASE WHEN budgets.period = {_MONTH}::date THEN budgets.reserved_micro_usd ELSE 0 END AS reserved_micro_usd,
  {_RESETS_AT} AS resets_at
"""

# Without a row there is no limit, and what was spent is what the messages cost, and the embedding.
_SPENT = f"""
  SELECT COALESCE(sum(cost_micro_usd), 0)::bigint FROM (
    SELECT messages.cost_micro_usd FROM messages
    WHERE messages.tenant_id = :tenant_id
      AND (CAST(:user_id AS varchar) IS NULL OR messages.user_id = :user_id)
      AND messages.created_at >= {_MONTH} AT TIME ZONE 'UTC'
    UNION ALL
    SELECT deleted_usage.cost_micro_usd FROM deleted_usage
    WHERE deleted_usage.tenant_id = :tenant_id
      AND (CAST(:user_id AS varchar) IS NULL OR deleted_usage.user_id = :user_id)
      AND deleted_usage.created_at >= {_MONTH} AT TIME ZONE 'UTC'
    UNION ALL
    SELECT embedding_hours.cost_micro_usd FROM embedding_hours
    WHERE embedding_hours.tenant_id = :tenant_id
      AND (CAST(:user_id AS varchar) IS NULL OR embedding_hours.user_id = :user_id)
      AND embedding_hours.hour >= {_MONTH} AT TIME ZONE 'UTC'
  ) AS costs
"""
_CEILING = bindparam("ceiling", type_=BigInteger)
READ = text(f"""
SELECT {_SHOWN} FROM budgets
WHERE budgets.tenant_id = :tenant_id AND budgets.user_id IS NOT DISTINCT FROM CAST(:user_id AS varchar)
""").bindparams(_CEILING)
READ_WITHOUT = text(f"""
SELECT CAST(:user_id AS varchar) AS user_id, CAST(NULL AS varchar) AS api_key_id, 'month' AS period,
       NULL::bigint AS limit_micro_usd,
       CASE WHEN CAST(:user_id AS varchar) IS NULL THEN CAST(:ceiling AS bigint) END AS ceiling_micro_usd,
       ({_SPENT}) AS spent_micro_usd, 0::bigint AS reserved_micro_usd, {_RESETS_AT} AS resets_at
""").bindparams(_CEILING)
# Messages that are committing look for budgets under the shared form of this lock.
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id, 0))")
# What was spent before there was a budget counts, and what runs at this moment has its claim.
_INSERT = f"""
INSERT INTO budgets (id, tenant_id, user_id, limit_micro_usd, period, spent_micro_usd, reserved_micro_usd)
VALUES (:id, :tenant_id, CAST(:user_id AS varchar), :limit, {_MONTH}::date, ({_SPENT}), (
  SELECT COALESCE(sum(messages.claim_micro_usd), 0)::bigint FROM messages
  WHERE messages.tenant_id = :tenant_id
    AND (CAST(:user_id AS varchar) IS NULL OR messages.user_id = :user_id)
    AND messages.status = 'pending' AND messages.claimed_at >= {_MONTH} AT TIME ZONE 'UTC'
))
"""
_TYPES = (bindparam("limit", type_=BigInteger), bindparam("tenant_id", type_=String))
SET = text(f"""{_INSERT}
ON CONFLICT (tenant_id, user_id) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd, updated_at = now()
WHERE budgets.tenant_id = :tenant_id
RETURNING {_SHOWN}
""").bindparams(*_TYPES, _CEILING)
# Only what has a row is counted.
COUNT_FROM_NOW_ON = text(f"{_INSERT} ON CONFLICT (tenant_id, user_id) DO NOTHING").bindparams(*_TYPES)
IS_COUNTED = text("SELECT 1 FROM budgets WHERE budgets.tenant_id = :tenant_id AND budgets.user_id IS NULL")
BOUND = text("SELECT set_config('app.tenant_ceiling', :ceiling, true)")
USER_EXISTS = text("SELECT users.id FROM users WHERE users.tenant_id = :tenant_id AND users.id = :user_id")
# Before the advisory lock: who deletes the user holds the row and may want that lock at its commit.
KEEP_USER = text(f"{USER_EXISTS.text} FOR KEY SHARE")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a budget is: the tenant's own, a user's, or an API key's."""

    user_id: str | None = None
    key_id: str | None = None


TENANT = Holder()


class BudgetService:
    """What the caller's tenant, its users and its keys may spend."""

    def __init__(self, db: TenantSession, ceiling: "SpendingCeiling") -> None:
        self._db = db
        self._ceiling = ceiling
        self._tenant_id = db.principal.tenant_id

    async def get(self, holder: Holder = TENANT, period: PeriodUnit = PeriodUnit.MONTH) -> BudgetRow:
        """The budget in the present period, in micro-USD; raises `NotFound` for another tenant's user or key."""
        async with self._db.begin() as connection:
            values = await self._values_of(connection, holder, period, keep=False)
            read, without = (READ, READ_WITHOUT) if _is_monthly(holder, period) else (of_periods.READ, of_periods.NONE)
            found = (await connection.execute(read, values, BudgetRow)).one_or_none()
            return found or (await connection.execute(without, values, BudgetRow)).one()

    async def _values_of(
        self, connection: Connection, holder: Holder, period: PeriodUnit, *, keep: bool
    ) -> dict[str, Any]:
        """What its statements take. `keep`: who holds it stays to the end of the transaction."""
        values: dict[str, Any] = {"tenant_id": self._tenant_id, "user_id": holder.user_id}
        if holder.key_id is not None:
            query = of_periods.KEEP_KEY if keep else of_periods.KEY
            key = await self._one(connection, query, {"key_id": holder.key_id})
            return values | {
                "user_id": key.user_id,
                "holder": key.line,
                "line": key.line,
                "key_id": holder.key_id,
                "period": period,
            }
        if holder.user_id is not None:
            await self._one(connection, KEEP_USER if keep else USER_EXISTS, {"user_id": holder.user_id})
        if _is_monthly(holder, period):
            return values | {"ceiling": self._ceiling.micro_usd}
        return values | {"holder": holder.user_id or "", "line": None, "key_id": None, "period": period}

    async def _one(self, connection: Connection, query: TextClause, named: dict[str, str]) -> Any:
        found = None
        if all(map(is_id, named.values())):
            found = (await connection.execute(query, {"tenant_id": self._tenant_id, **named})).one_or_none()
        if found is None:
            raise NotFound
        return found


class BudgetAdminService(BudgetService):
    """As `BudgetService`, for who may set them."""

    async def set(
        self, limit_micro_usd: int | None, holder: Holder = TENANT, period: PeriodUnit = PeriodUnit.MONTH
    ) -> BudgetRow:
        """Set the limit (None: none) from now on; raises as `get`."""
        async with self._db.begin() as connection:
            values = await self._values_of(connection, holder, period, keep=True)
            await connection.execute(LOCK, {"tenant_id": self._tenant_id})
            values |= {"limit": limit_micro_usd}
            if _is_monthly(holder, period):
                budget = (await connection.execute(SET, values | {"id": new_id()}, BudgetRow)).one()
            else:
                budget = (await connection.execute(of_periods.SET, values, BudgetRow)).one()
            target = holder.key_id or holder.user_id
            details = {"limit_micro_usd": limit_micro_usd, "period": period.value}
            await record_by(self._db, connection, "budget.set", target, **details)
            return budget


def _is_monthly(holder: Holder, period: PeriodUnit) -> bool:
    return period == PeriodUnit.MONTH and holder.key_id is None


class SpendingCeiling:
    """What the operator lets every tenant spend in a month, in micro-USD; None: what it likes.

    A ceiling of the tenant's own (`python -m app.cli set-ceiling`) takes its place. Neither is the tenant's to change.
    """

    def __init__(self, micro_usd: int | None) -> None:
        self.micro_usd = micro_usd
        self._counted: set[str] = set()

    async def count(self, db: TenantSession) -> None:
        """Have what the caller's tenant spends counted, before a message claims from it."""
        await self.count_of(db.principal.tenant_id, db.begin)

    async def count_of(self, tenant_id: str, begin: Callable[[], Session]) -> None:
        """As `count`; `begin` opens a transaction in the tenant."""
        if self.micro_usd is None or tenant_id in self._counted:
            return
        async with begin() as connection:
            if (await connection.execute(IS_COUNTED, {"tenant_id": tenant_id})).one_or_none() is None:
                await count_from_now_on(connection, tenant_id)
        self._counted.add(tenant_id)

    async def bound(self, connection: Connection) -> None:
        """Hold what the present transaction claims at its commit to the ceiling."""
        if self.micro_usd is not None:
            await connection.execute(BOUND, {"ceiling": str(self.micro_usd)})


async def count_from_now_on(connection: Connection, tenant_id: str) -> None:
    """Give the tenant a budget without a limit, if it has none."""
    await connection.execute(LOCK, {"tenant_id": tenant_id})
    values = {"id": new_id(), "tenant_id": tenant_id, "user_id": None, "limit": None}
    await connection.execute(COUNT_FROM_NOW_ON, values)
