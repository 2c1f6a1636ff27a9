"""Moving a tenant to another region: copied while it is in use, then read alone for a moment.

copy      all rows, and then what changed meanwhile, until little does; the copy is `arriving`: nobody enters it
leave     callers read and do not write; what runs ends
freeze    nobody writes; the last changes are copied, and the rows counted
flip      one row of the directory says where the tenant lives
open      the copy is the tenant; what is left at the source is erased

Whoever is killed is followed by the next who gives the same command: each step asks how far the one before it came. A
freeze ends by itself, unless the directory may have been flipped.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import structlog

from app.core.errors import TenantNotFound
from app.residency.copying import IS_FREE, Diverged, copy_pass, owners_connection

# Further passes are made until so little changed during one.
FEW_ROWS = 500
MOST_PASSES = 10
LOOK_SECONDS = 0.05
OLD_TRANSACTIONS = """
SELECT array_agg(l.virtualtransaction) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND a.usesysid IS NOT NULL
  AND l.pid <> pg_backend_pid()
"""
STILL_THERE = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND virtualtransaction = ANY($1))"
LIVES_IN = "SELECT region FROM directory_tenants WHERE id = $1"
FLIP = "UPDATE directory_tenants SET region = $2, moving_to = NULL WHERE id = $1 AND region = $3"
EXISTS = "SELECT EXISTS (SELECT FROM tenants WHERE id = $1)"
FORGET = "DELETE FROM directory_tenants WHERE id = $1 AND region = $2"
BAR = "UPDATE tenants SET erasing_at = now() WHERE id = $1 AND moving IS NOT NULL RETURNING true"
logger = structlog.get_logger()


class MoveGaveUp(Exception):
    """The tenant stays where it was, and is as it was. Why is for the operator.

    `left`: the regions where what was copied is to be erased.
    """

    def __init__(self, reason: str, left: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.left = left


@dataclass(frozen=True, slots=True)
class Moved:
    """`frozen_seconds`: how long nobody could write."""

    rows: int
    frozen_seconds: float
    left: list[str]
    """The regions where what it left is to be erased."""


class TenantMove:
    """`owners`: the URL of each region's owner, the directory's region first."""

    def __init__(self, owners: Mapping[str, str], tenant_id: str, target: str, window_seconds: float) -> None:
        self._owners = owners
        self._tenant_id = tenant_id
        self._target = target
        self._window = window_seconds
        self._rows = 0
        self._frozen_at = 0.0
        self._at: dict[str, asyncpg.Connection] = {}
        self._directory: asyncpg.Connection = None

    async def run(self) -> Moved:
        """Move the tenant; it may be repeated after a failure at any point, and when it has moved.

        Raises:
            TenantNotFound
            MoveGaveUp
        """
        async with AsyncExitStack() as stack:
            self._at = {name: await stack.enter_async_context(_owner(name, url)) for name, url in self._owners.items()}
            self._directory = next(iter(self._at.values()))
            locked = "SELECT pg_try_advisory_lock(hashtextextended('move ' || $1, 0))"
            if not await self._directory.fetchval(locked, self._tenant_id):
                raise MoveGaveUp("somebody else moves this tenant")
            region = await self._directory.fetchval(LIVES_IN, self._tenant_id)
            if region is None:
                raise TenantNotFound
            if region != self._target:
                await self._bring(region)
            left = await self._settle()
        return Moved(self._rows, time.monotonic() - self._frozen_at if self._frozen_at else 0.0, left)

    async def _bring(self, region: str) -> None:
        source, target = self._at[region], self._at[self._target]
        await self._check(source, target)
        await self._note(self._target)
        try:
            if not await source.fetchval(EXISTS, self._tenant_id):
                raise MoveGaveUp("the tenant was erased")
            since = await self._copy_in_use(source, target)
            await self._freeze(source)
            copied, _ = await copy_pass(source, target, self._tenant_id, since, last=True)
            await self._keep_frozen(source)
        except (MoveGaveUp, Diverged) as error:
            raise MoveGaveUp(str(error), await self._take_back(region)) from error
        self._rows += copied
        await self._flip(region)

    async def _take_back(self, region: str) -> list[str]:
        """As it was before; where there is a copy to be erased, which the tenant's own erasure would not find."""
        await self._set(self._at[region], None)
        await self._note(None)
        if not await self._at[region].fetchval(EXISTS, self._tenant_id):
            # Erased meanwhile, and the directory was not told: the tenant was moving.
            await self._directory.execute(FORGET, self._tenant_id, region)
        return [self._target] if await self._bar(self._target) else []

    async def _bar(self, name: str) -> bool:
        """Whether there is something there to be erased; only what a move has marked."""
        if not await self._at[name].fetchval(BAR, self._tenant_id):
            return False
        await self._at[name].execute("SELECT pg_notify('llm_saas_messages', 'erase ' || $1)", self._tenant_id)
        return True

    async def _check(self, source: asyncpg.Connection, target: asyncpg.Connection) -> None:
        if await source.fetchval("SELECT erasing_at IS NOT NULL FROM tenants WHERE id = $1", self._tenant_id):
            raise MoveGaveUp("the tenant is being erased")
        copy = await target.fetchrow("SELECT moving, erasing_at FROM tenants WHERE id = $1", self._tenant_id)
        if copy is not None and (copy["moving"] != "arriving" or copy["erasing_at"] is not None):
            raise MoveGaveUp(f"{self._target} still has rows of this tenant from before: they are being erased")

    async def _copy_in_use(self, source: asyncpg.Connection, target: asyncpg.Connection) -> int:
        since: int | None = None
        for _ in range(MOST_PASSES):
            copied, since = await copy_pass(source, target, self._tenant_id, since, last=False)
            self._rows += copied
            logger.info("tenant_copied", tenant_id=self._tenant_id, rows=copied)
            if copied <= FEW_ROWS:
                break
        assert since is not None
        return since

    async def _freeze(self, source: asyncpg.Connection) -> None:
        self._frozen_at = time.monotonic()
        await self._set(source, "leaving", self._window)
        await self._outlive(source)
        running = "SELECT count(*) FROM messages WHERE tenant_id = $1 AND status = 'pending'"
        while count := await source.fetchval(running, self._tenant_id):
            self._require_time(f"{count} messages still run")
            await asyncio.sleep(LOOK_SECONDS)
        await self._set(source, "frozen", self._left())
        await self._outlive(source)

    async def _outlive(self, source: asyncpg.Connection) -> None:
        """Return when no transaction is left that began before: it may not have seen what was set."""
        old = await source.fetchval(OLD_TRANSACTIONS)
        while old and await source.fetchval(STILL_THERE, old):
            self._require_time("a transaction from before goes on")
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_frozen(self, source: asyncpg.Connection) -> None:
        """From here on the freeze does not end by itself; if it had, somebody may have written what was not copied."""
        until = await source.fetchval("SELECT moving_until FROM tenants WHERE id = $1", self._tenant_id)
        await self._set(source, "frozen", "infinity")
        # By now it is committed: whoever began before this moment met the tenant frozen.
        if not await source.fetchval("SELECT clock_timestamp() < $1", until):
            raise MoveGaveUp(f"the last changes took longer than {self._window:g} seconds: give it more with --window")

    async def _flip(self, region: str) -> None:
        await self._directory.execute(FLIP, self._tenant_id, self._target, region)

    async def _settle(self) -> list[str]:
        """Bar what is elsewhere of a tenant that lives at the target, open it there; the regions to erase it in."""
        left = [name for name in self._at if name != self._target and await self._bar(name)]
        await self._set(self._at[self._target], None)
        return left

    async def _set(self, connection: asyncpg.Connection, moving: str | None, until: str | float = "infinity") -> None:
        moment = f"now() + interval '{until} seconds'" if isinstance(until, float) else f"'{until}'"
        moment = "NULL" if moving is None else moment
        await connection.execute(
            f"UPDATE tenants SET moving = $2, moving_until = {moment} WHERE id = $1",  # noqa: S608
            self._tenant_id,
            moving,
        )

    async def _note(self, target: str | None) -> None:
        await self._directory.execute(
            "UPDATE directory_tenants SET moving_to = $2 WHERE id = $1", self._tenant_id, target
        )

    def _left(self) -> float:
        return self._window - (time.monotonic() - self._frozen_at)

    def _require_time(self, reason: str) -> None:
        if self._left() <= 0:
            raise MoveGaveUp(f"{reason} after {self._window:g} seconds: try again, or give it more with --window")


@asynccontextmanager
async def _owner(region: str, url: str) -> AsyncIterator[asyncpg.Connection]:
    async with owners_connection(url) as connection:
        if not await connection.fetchval(IS_FREE):
            raise MoveGaveUp(
                f"MIGRATION_DATABASE_SHARDS: the login of {region} must be a superuser's or have BYPASSRLS:"
                " the tenants' rows are hidden from any other"
            )
        yield connection
