"""Keeps the blocks of the search up to date, beside the path of any answer.

What is in no block yet is found all the same, by reading it: that costs a search more, and no message.
"""

import asyncio
from contextlib import suppress

from sqlalchemy import text

from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database

LOOK_SECONDS = 300.0
# A transaction's; each takes some milliseconds.
BLOCKS = 8
# One process looks for all; the lock goes with the transaction.
TO_INDEX = text("SELECT tenants_to_index() WHERE pg_try_advisory_xact_lock(hashtextextended('search', 0))")
INDEX = text("SELECT index_messages(:blocks)")


class SearchIndexer:
    """Tenants are found by looking at all now and then, and by being searched."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due: dict[str, None] = {}
        self._looked_at: set[str] = set()
        self._woken = asyncio.Event()
        self.turns = Turns("search_indexing")

    def searched(self, tenant_id: str) -> None:
        """Look at the tenant soon, once until all are looked at again."""
        if tenant_id not in self._looked_at:
            self._looked_at.add(tenant_id)
            self._due[tenant_id] = None
            self._woken.set()

    async def run(self) -> None:
        """Index until cancelled: at once, and whenever something is due."""
        clock, look = asyncio.get_running_loop().time, 0.0
        while True:
            due = clock() >= look
            if due:
                look = clock() + LOOK_SECONDS
            await self.turns.take(self._index_what_is_due(look_at_all=due))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(look):
                    await self._woken.wait()
            self._woken.clear()

    async def _index_what_is_due(self, *, look_at_all: bool) -> None:
        if look_at_all:
            await self._look_at_all()
        while self._due:
            await self.index(next(iter(self._due)))

    async def index(self, tenant_id: str) -> int:
        """Make all the blocks that the tenant wants; how many. Each transaction makes a few."""
        self._due.pop(tenant_id, None)
        made = 0
        while True:
            async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
                some: int = (await connection.execute(INDEX, {"blocks": BLOCKS})).scalar_one()
            made += some
            if some < BLOCKS:
                return made

    async def _look_at_all(self) -> None:
        self._looked_at.clear()
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            behind = (await connection.execute(TO_INDEX)).scalars()
        self._due.update(dict.fromkeys(behind))
