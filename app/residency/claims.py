"""What is unique over all regions is claimed in the directory before a region stores it.

claim     in the directory, for a minute: its unique key decides
store     in the region, under a lock that whoever doubts the claim waits for
confirm   in the directory; a process that is killed before leaves a claim that the sweep asks the region about
"""

import asyncio
import time
from types import TracebackType
from typing import Protocol, Self

import structlog

from app.core.errors import AppError, DatabaseUnavailable, EmailTaken, TenantNameTaken
from app.core.supervision import Turns
from app.db.execution import Connection
from app.residency.directory import CLAIM_LIFE, LOCK, Claim, Directory, lock_of

# Whoever stores later than this might meet somebody whom the sweep has given the value to.
STORED_WITHIN_SECONDS = CLAIM_LIFE.total_seconds() / 2
SWEEP_SECONDS = 30.0
TAKEN: dict[str, type[AppError]] = {"email": EmailTaken, "tenant_name": TenantNameTaken}
logger = structlog.get_logger()


class Hold(Protocol):
    """`async with` around the region's transaction; `secure` comes first in it."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def secure(self, connection: Connection) -> None: ...


class Claims(Protocol):
    """What services ask before they store what is unique, whether there are several regions or one."""

    def hold(self, tenant_id: str, *claims: Claim) -> Hold:
        """Claims for as long as the block takes; entering raises `EmailTaken`, `TenantNameTaken`."""

    async def release(self, claim: Claim) -> None:
        """Give up what the region has no more."""

    async def forget_tenant(self, tenant_id: str) -> None:
        """Give up all that a tenant had which is no more."""


class _Nothing:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def secure(self, _: Connection) -> None:
        return


class OneRegion:
    """The region's own unique keys say it all."""

    _NOTHING = _Nothing()

    def hold(self, _: str, *__: Claim) -> Hold:
        return self._NOTHING

    async def release(self, _: Claim) -> None:
        return

    async def forget_tenant(self, _: str) -> None:
        return


ONE_REGION = OneRegion()


class RegionalClaims:
    """For what is stored in one of several regions."""

    def __init__(self, directory: Directory, region: str) -> None:
        self._directory = directory
        self._region = region

    def hold(self, tenant_id: str, *claims: Claim) -> Hold:
        return _RegionalHold(self._directory, self._region, tenant_id, claims)

    async def release(self, claim: Claim) -> None:
        await _settle(self._directory, claim, stands=False)

    async def forget_tenant(self, tenant_id: str) -> None:
        try:
            await self._directory.forget_tenant(tenant_id, self._region)
        except DatabaseUnavailable:
            logger.warning("directory_not_told", what="a tenant was erased", tenant_id=tenant_id)


class _RegionalHold:
    def __init__(self, directory: Directory, region: str, tenant_id: str, claims: tuple[Claim, ...]) -> None:
        self._directory = directory
        self._region = region
        self._tenant_id = tenant_id
        self._claims = claims
        self._held: list[Claim] = []
        self._store_until = 0.0

    async def __aenter__(self) -> Self:
        self._store_until = time.monotonic() + STORED_WITHIN_SECONDS
        for claim in self._claims:
            claimed = await self._directory.claim(self._tenant_id, self._region, claim)
            if claimed == "taken":
                await self._settle(stands=False)
                raise TAKEN[claim.kind]
            if claimed == "free":
                self._held.append(claim)
        return self

    async def secure(self, connection: Connection) -> None:
        for claim in self._held:
            hashed = self._directory.hash_of(claim.kind, claim.value)
            await connection.execute(LOCK, {"name": lock_of(claim.kind, hashed)})
        if time.monotonic() > self._store_until:
            raise DatabaseUnavailable

    async def __aexit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        if error is None:
            await self._settle(stands=True)
        # What was refused was rolled back. Of anything else nobody knows whether it was committed: the sweep asks.
        elif isinstance(error, AppError) and not isinstance(error, DatabaseUnavailable):
            await self._settle(stands=False)

    async def _settle(self, *, stands: bool) -> None:
        # Also for a caller who has gone by now.
        await asyncio.shield(asyncio.gather(*(_settle(self._directory, claim, stands=stands) for claim in self._held)))


async def _settle(directory: Directory, claim: Claim, *, stands: bool) -> None:
    hashed = directory.hash_of(claim.kind, claim.value)
    try:
        await directory.settle(claim.kind, hashed, claim.target_id, stands=stands)
    except DatabaseUnavailable:  # a claim that is not confirmed is asked about, and so is one that somebody wants
        logger.warning("directory_not_told", what="claim stands" if stands else "claim given up", kind=claim.kind)


class ClaimSweep:
    """Settles what nobody confirmed or gave up in time."""

    def __init__(self, directory: Directory) -> None:
        self.turns = Turns("claims_sweep")
        self._directory = directory

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self.turns.take(self._directory.settle_doubtful())
            await asyncio.sleep(SWEEP_SECONDS)
