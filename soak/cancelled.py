"""A hundred thousand transactions cut off at a random moment; then who comes next must see nothing of them.

Most are cancelled inside this process, where the transaction is opened (app/db/session.py); the others are requests whose
client hangs up. A connection that went back to the pool mid-transaction would show another tenant's rows to the next, or
store half of what was cut off.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import asyncpg
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.core.ids import new_id
from app.db import rls
from app.db.rls import GuardedConnection
from app.db.session import Database
from soak import cross_tenant
from soak.hung_up import HangingUp
from soak.report import Failed, Outcome, Progress
from soak.seed import dsn, identifier, principal
from soak.service import Service

TRANSACTIONS, REQUESTS = 80_000, 20_000
AFTERWARDS = 0.02
"""Of the first section's requests, how many come after those that were cut off."""
POOL, AT_ONCE = 8, 12
ROUND = 240
"""Transactions between two looks at the pool."""
LATEST_SECONDS = 0.012
GONE_SECONDS = 5.0
TOO_EARLY, TOO_LATE = "waiting for a connection", "committed"
IDLE = """
SELECT pid, state, query FROM pg_stat_activity WHERE pid = ANY($1) AND state LIKE 'idle in transaction%'
"""
INSERT = text("INSERT INTO conversations (id, tenant_id, user_id, title) VALUES (:id, :tenant, :user, :tag)")
TENANTS = text("SELECT id FROM tenants")
OWNERS = text("SELECT DISTINCT tenant_id FROM users UNION SELECT DISTINCT tenant_id FROM conversations")
# An id is assigned by the first write: a transaction that just began has none.
FRESH = text("SELECT pg_current_xact_id_if_assigned() IS NULL")


class Victim:
    """A transaction that writes two rows, both or neither.

    Where it rests the driver waits for nothing, so its connection goes back to the pool when it is cancelled; a
    statement that is cut off on its way takes its connection along.
    """

    def __init__(self, tenant: int, rests_at: int) -> None:
        self.tenant, self.rests_at = tenant, rests_at
        self.rests = asyncio.Event()
        self.stage, self.tag = TOO_EARLY, f"pair-{new_id()}"

    async def run(self, database: Database) -> None:
        values = {"tenant": identifier("tenant", self.tenant), "user": identifier("user", self.tenant), "tag": self.tag}
        async with database.tenant_session(principal(self.tenant)).begin() as connection:
            self.stage = "beginning"
            seen = (await connection.execute(TENANTS)).scalars()
            _expect(seen == [values["tenant"]], f"tenant {self.tenant} sees {seen}")
            await self._rest(1)
            self.stage = "writing"
            await connection.execute(INSERT, {"id": new_id(), **values})
            await self._rest(2)
            self.stage = "writing"
            await connection.execute(INSERT, {"id": new_id(), **values})
            await self._rest(3)
            self.stage = "committing"

    async def _rest(self, place: int) -> None:
        if self.rests_at == place:
            self.stage = "between two statements"
            self.rests.set()
            await asyncio.get_running_loop().create_future()


class Cuts:
    """Begins transactions and cancels them; `stages` counts how far those were that it caught."""

    def __init__(self, database: Database, tenants: int, dice: random.Random) -> None:
        self._database, self._tenants, self._dice = database, tenants, dice
        self.stages: Counter[str] = Counter()
        self.completed: set[str] = set()
        self.followed = 0

    @property
    def caught(self) -> int:
        return self.stages.total() - self.stages[TOO_LATE] - self.stages[TOO_EARLY]

    async def cut_one(self) -> None:
        victim = Victim(self._dice.randint(1, self._tenants), self._dice.choice((0, 0, 0, 0, 0, 0, 1, 2, 3)))
        task = asyncio.create_task(victim.run(self._database))
        if victim.rests_at:
            await asyncio.wait([task, asyncio.ensure_future(victim.rests.wait())], return_when=asyncio.FIRST_COMPLETED)
        else:
            await self._wait_a_moment()
        task.cancel()
        if self._dice.random() < 0.3:  # once more, while the connection goes back
            await self._wait_some_turns()
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.stages[victim.stage] += 1
        except DatabaseUnavailable as error:
            raise Failed(f"a cancelled transaction took the database away: {error!r}") from error
        else:
            self.completed.add(victim.tag)
            self.stages[TOO_LATE] += 1

    async def _wait_a_moment(self) -> None:
        """Some turns of the loop, or some milliseconds: each reaches moments that the other does not."""
        if self._dice.random() < 0.5:
            await self._wait_some_turns()
        else:
            await asyncio.sleep(self._dice.random() * LATEST_SECONDS)

    async def _wait_some_turns(self) -> None:
        for _ in range(self._dice.randrange(120)):
            await asyncio.sleep(0)

    async def follow(self) -> None:
        """Every connection of the pool at once, each by another tenant."""
        everybody = asyncio.Barrier(POOL)
        tenants = self._dice.sample(range(1, self._tenants + 1), POOL)
        await asyncio.gather(*(self._follow_as(tenant, everybody) for tenant in tenants))
        async with self._database.session(rls.ENTER_NO_TENANT) as connection:
            seen = (await connection.execute(TENANTS)).scalars()
            _expect(not seen, f"outside any tenant, {seen} are seen")

    async def _follow_as(self, tenant: int, everybody: asyncio.Barrier) -> None:
        own = [identifier("tenant", tenant)]
        async with self._database.tenant_session(principal(tenant)).begin() as connection:
            _expect((await connection.execute(FRESH)).scalar_one(), "a transaction began in the middle of another")
            await everybody.wait()
            for statement in (TENANTS, OWNERS):
                seen = (await connection.execute(statement)).scalars()
                _expect(seen == own, f"tenant {tenant} sees {seen}")
        self.followed += 1


def _expect(condition: Any, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


async def run(service: Service, scale: float, seed: int) -> Outcome:
    cuts, opened, seconds = await _cancel(service, max(1, round(TRANSACTIONS * scale)), seed)
    clients = HangingUp(service, max(1, round(REQUESTS * scale)), seed)
    await clients.run()
    # The connections that those requests used now serve others: as strictly looked at as in the first section.
    seen = await cross_tenant.run(service, scale * AFTERWARDS, seed)
    return Outcome(
        "Cancelled transactions",
        f"Cancelled inside a process, {AT_ONCE} at once on a pool of {POOL} connections, some at a random moment, some between"
        f" two statements, some twice; after every {ROUND} the pool is looked at, and every connection"
        " is used by another tenant. Then requests to the service whose clients send all or some and hang up.",
        seconds + clients.seconds + seen.seconds,
        Counter({
            "cut off": cuts.caught + clients.cut,
            "cancelled in a process": cuts.caught,
            **{f"… {stage}": count for stage, count in sorted(cuts.stages.items()) if stage not in (TOO_EARLY, TOO_LATE)},
            "transactions that came next there": cuts.followed,
            "connections that were opened there": opened,
            "requests whose client hung up": clients.cut,
            "requests that came next": seen.counts["requests"],
        }),
        clients.statuses + seen.statuses,
        [
            "No connection stayed checked out, and none idle in a transaction.",
            (
                f"Each of the {cuts.followed:,} transactions that came next began afresh and saw its own tenant alone, and"
                f" so did the {seen.counts['requests']:,} requests."
            ),
            "Of the two rows that each transaction wrote, both were stored or neither, and both of every one that said so.",
            "No message that was accepted stayed pending.",
        ],
    )  # fmt: skip


async def _cancel(service: Service, total: int, seed: int) -> tuple[Cuts, int, float]:
    database = Database(service.url, POOL)
    pids: set[int] = set()
    open_one = database.pool.open

    async def opened() -> GuardedConnection:
        connection = await open_one()
        pids.add(connection.get_server_pid())
        return connection

    database.pool.open = opened  # type: ignore[method-assign]
    superuser = await asyncpg.connect(dsn(service.url))
    cuts, progress = Cuts(database, service.tenants, random.Random(seed)), Progress("cancelled", total)
    try:
        while cuts.caught < total:
            before = cuts.caught
            await _round(cuts, min(ROUND, total - before))
            await _look_at_the_pool(database, superuser, pids)
            await cuts.follow()
            progress.step(cuts.caught - before)
        await _look_for_halves(superuser, cuts.completed)
    finally:
        await superuser.close()
        await database.close()
    return cuts, len(pids), progress.seconds()


async def _round(cuts: Cuts, count: int) -> None:
    left = count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await cuts.cut_one()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _look_at_the_pool(database: Database, superuser: asyncpg.Connection, pids: set[int]) -> None:
    # What is on its way back arrives, and a backend sees that its client is gone; what was forgotten stays.
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while out := database.pool.in_use:
        _expect(asyncio.get_running_loop().time() < deadline, f"{out} connections are still checked out")
        await asyncio.sleep(0.01)
    while idle := await superuser.fetch(IDLE, list(pids)):
        _expect(asyncio.get_running_loop().time() < deadline, f"connections idle in a transaction: {idle}")
        await asyncio.sleep(0.05)


async def _look_for_halves(superuser: asyncpg.Connection, completed: set[str]) -> None:
    stored = await superuser.fetch("SELECT title, count(*) FROM conversations WHERE title LIKE 'pair-%' GROUP BY title")
    halves = [row["title"] for row in stored if row["count"] != 2]
    _expect(not halves, f"{len(halves)} transactions are stored by half: {halves[:5]}")
    lost = completed - {row["title"] for row in stored}
    _expect(not lost, f"{len(lost)} transactions that committed are not stored: {sorted(lost)[:5]}")
