"""That a budget refuses is noted as its end: most of them refuse before all of them is spent."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Self

import structlog
from sqlalchemy import BigInteger, String, bindparam, text

from app.core.errors import BudgetExceeded
from app.core.principal import Principal
from app.db.session import Session, TenantSession

# Who is refused asks again, and mostly in vain.
REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 10_000
NOTE = text("SELECT note_budget_refused(:of, :period, :user_id, :need)").bindparams(
    *(bindparam(name, type_=String) for name in ("of", "period", "user_id")), bindparam("need", type_=BigInteger)
)
logger = structlog.get_logger()


class BudgetRefusals:
    """One for the process. The database knows which was the first in a period; see `note_budget_refused`."""

    def __init__(self) -> None:
        self._noted: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def noting(self, db: TenantSession) -> "Noting":
        return Noting(self, db)

    async def note(
        self, begin: Callable[[], Session], whose: tuple[str, ...], user_id: str, need: int, error: BudgetExceeded
    ) -> None:
        """To be called after the transaction that was refused. `whose`: tenant and, if any, user and key of the call.

        What goes wrong here is not what the caller is told.
        """
        key = (*whose, error.of, error.period)
        now = monotonic()
        if self._noted.get(key, -REMEMBERED_SECONDS) + REMEMBERED_SECONDS > now:
            return
        try:
            async with begin() as connection:
                await connection.execute(
                    NOTE, {"of": error.of, "period": error.period, "user_id": user_id, "need": need}
                )
        except Exception as failure:  # noqa: BLE001 - see above
            logger.warning("budget_refusal_not_noted", tenant_id=whose[0], error=type(failure).__name__)
            return
        self._noted[key] = now
        self._noted.move_to_end(key)
        if len(self._noted) > MOST_REMEMBERED:
            self._noted.popitem(last=False)


class Noting:
    """Around a transaction that claims `need` at its commit, for a message of `user_id`."""

    __slots__ = ("_db", "_refusals", "need", "user_id")

    def __init__(self, refusals: BudgetRefusals, db: TenantSession) -> None:
        self._refusals = refusals
        self._db = db
        self.user_id = db.principal.user_id
        self.need: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, BudgetExceeded) and self.need is not None:
            whose = _whose(self._db.principal, self.user_id)
            await self._refusals.note(self._db.begin, whose, self.user_id, self.need, error)


def _whose(principal: Principal, user_id: str) -> tuple[str, ...]:
    return (principal.tenant_id, user_id, principal.key_id or "")
