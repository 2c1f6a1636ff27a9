"""Renews the leases of all that runs in this process: one statement for all tenants, three times a lease.

A process that was killed renews nothing, so its messages end soon. One that was suspended for longer than a lease finds
that its messages have ended, and stops them (`DeltaWriter` asks).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import DatabaseUnavailable
from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database
from app.messages.generation import Generation

RENEWALS_PER_LEASE = 3
# After a failure; sooner where a lease is so short.
LONGEST_PAUSE_SECONDS = 1.0
# A line of its own at the gate: it is not to wait behind a thousand answers that are being stored.
LINE = "leases"
RENEW = text("SELECT renew_leases(:batch, :lease)").bindparams(
    bindparam("batch", type_=JSONB), bindparam("lease", type_=Interval)
)


class LeaseKeeper:
    """`running` is the engine's. What has run for longer than `limit` is renewed no more, and so ends: it hangs."""

    def __init__(
        self, database: Database, running: Mapping[str, Generation], lease: timedelta, limit: timedelta
    ) -> None:
        self._database = database
        self._running = running
        self._lease = lease
        self._limit = limit.total_seconds()
        self._interval = lease.total_seconds() / RENEWALS_PER_LEASE
        self._renewed = 0
        self.turns = Turns("leases")

    async def run(self) -> None:
        """Renew until cancelled. A database that does not answer is asked again at once: the leases are running out."""
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            renewed = self._renewed
            await self.turns.take(self._renew_in_time())
            pause = self._interval if self._renewed > renewed else min(self._interval, LONGEST_PAUSE_SECONDS)

    async def _renew_in_time(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self.renew()
        except TimeoutError:
            raise DatabaseUnavailable from None
        self._renewed += 1

    async def renew(self) -> None:
        now = asyncio.get_running_loop().time()
        by_tenant: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in self._running.values():
            # Most messages end before their lease needs to be touched. A young one has its turn the next time.
            if self._interval / 2 <= now - run.started <= self._limit:
                by_tenant[run.tenant_id].append({"id": run.id, "attempt": run.attempt})
        if not by_tenant:
            return
        batch = [{"tenant_id": tenant_id, "runs": runs} for tenant_id, runs in by_tenant.items()]
        async with self._database.background(rls.ENTER_NO_TENANT, LINE) as connection:
            await connection.execute(RENEW, {"batch": batch, "lease": self._lease})
