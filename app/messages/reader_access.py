"""Whether who reads a stream still may: asked again every few seconds, once for all streams of a caller."""

import asyncio
from collections import OrderedDict
from time import monotonic

from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.core.principal import Principal
from app.db.session import TenantSession

ASK_SECONDS = 5.0
# A transaction that asks for nothing: entering the tenant is the question.
NOTHING = text("SELECT 1")


class ReaderAccess:
    """A stream is one request, and its caller may be disabled or logged out in the midst of it."""

    def __init__(self) -> None:
        # In the order in which they end.
        self._good_until: OrderedDict[Principal, float] = OrderedDict()
        self._asking: dict[Principal, asyncio.Task[None]] = {}

    def was_good(self, caller: Principal) -> None:
        """A transaction of the caller's has just been opened."""
        now = monotonic()
        while self._good_until and next(iter(self._good_until.values())) <= now:
            self._good_until.popitem(last=False)
        self._good_until[caller] = now + ASK_SECONDS
        self._good_until.move_to_end(caller)

    async def require(self, db: TenantSession) -> None:
        """Raise `AuthenticationError` once the caller has lost its access, some seconds late at most."""
        caller = db.principal
        if self._good_until.get(caller, 0.0) > monotonic():
            return
        asking = self._asking.get(caller)
        if asking is None:
            asking = self._asking[caller] = asyncio.create_task(self._ask(db))
            asking.add_done_callback(lambda _: self._asking.pop(caller, None))
        await asyncio.shield(asking)

    async def _ask(self, db: TenantSession) -> None:
        try:
            async with db.begin() as connection:
                await connection.execute(NOTHING)
        except DatabaseUnavailable:  # an outage says nothing about the caller; the message goes on meanwhile
            return
        self.was_good(db.principal)
