"""Finding a tenant's place among several regions: by the directory, or while that is away by asking all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog
from sqlalchemy import TextClause, text

from app.core.errors import AuthenticationError, DatabaseUnavailable, TenantNotFound, UnknownRegion
from app.core.ids import is_id
from app.db import rls
from app.db.failures import reason_of
from app.db.session import Database
from app.residency.claims import RegionalClaims
from app.residency.directory import Directory, Kind
from app.residency.places import Place

# A directory that did not answer is left alone for so long: whoever waited for it would wait for nothing.
AWAY_SECONDS = 5.0
# Whose something is, of all that a region knows: SECURITY DEFINER functions, by exact value.
OF_EMAIL = text("SELECT tenant_id FROM auth_lookup(:value)")
OF_KEY = text("SELECT tenant_id FROM api_key_lookup(:value)")
OF_SESSION = text("SELECT tenant_id FROM session_lookup(:value)")
# Not where it is being erased: a move may have left that.
OF_TENANT = text("SELECT tenants.id FROM tenants WHERE tenants.id = :value AND tenants.erasing_at IS NULL")
T = TypeVar("T")
logger = structlog.get_logger()


class RegionalPlaces:
    """`databases`: of each region by its name, the first one's holding the directory."""

    def __init__(self, databases: Mapping[str, Database], directory: Directory) -> None:
        self.directory = directory
        self._places = {
            region: Place(region, database, RegionalClaims(directory, region)) for region, database in databases.items()
        }
        self._first = next(iter(self._places.values()))
        self._away_until = 0.0
        self._asking: set[asyncio.Task[str | None]] = set()

    def __getitem__(self, region: str) -> Place:
        return self._places[region]

    def forget_tenant(self, tenant_id: str) -> None:
        self.directory.forget(tenant_id)

    def chosen(self, region: str | None) -> Place:
        if region is None:
            return self._first
        if region not in self._places:
            raise UnknownRegion
        return self._places[region]

    async def of_tenant(self, tenant_id: str) -> Place:
        found = await self._find_tenant(tenant_id) if is_id(tenant_id) else None
        if found is None:
            raise TenantNotFound
        return found

    async def of_caller(self, tenant_id: str) -> Place:
        known = self._places.get(self.directory.last_heard(tenant_id) or "")
        return known or await self._find_tenant(tenant_id) or self._first

    async def of_email(self, email: str) -> Place:
        return await self._find("email", email, OF_EMAIL)

    async def of_key(self, key_hash: str) -> Place:
        return await self._find("api_key", key_hash, OF_KEY)

    async def of_session(self, session_id: str) -> Place:
        # A login writes nothing to the directory; and while a tenant moves, both regions know its sessions.
        tenant_id = await self._first_to_know(OF_SESSION, session_id, rls.ENTER_NO_TENANT)
        return self._first if tenant_id is None else await self._find_tenant(tenant_id) or self._first

    async def has_moved(self, tenant_id: str, seen_in: Database) -> bool:
        try:
            found = await self._find_tenant(tenant_id)
        except DatabaseUnavailable:
            return False
        return found is not None and found.database is not seen_in

    async def _find(self, kind: Kind, value: str, in_a_region: TextClause) -> Place:
        try:
            found = await self._from_directory(lambda: self.directory.find(kind, value))
        except DatabaseUnavailable:
            tenant_id = await self._first_to_know(in_a_region, value, rls.ENTER_NO_TENANT)
            return self._of_nobody(kind, value) if tenant_id is None else await self.of_caller(tenant_id)
        region = "" if found is None else found[1]
        return self._places.get(region) or self._of_nobody(kind, value)

    def _of_nobody(self, kind: str, value: str) -> Place:
        """How long an answer takes may tell of a region, and must not tell who is known."""
        places = list(self._places.values())
        return places[int(self.directory.hash_of(kind, value)[:8], 16) % len(places)]

    async def _find_tenant(self, tenant_id: str) -> Place | None:
        try:
            region = await self._from_directory(lambda: self.directory.region_of(tenant_id))
        except DatabaseUnavailable:
            region = await self._first_to_know(OF_TENANT, tenant_id, rls.enter_tenant(tenant_id), name_region=True)
            self.directory.remember(tenant_id, region)
        return None if region is None else self._places.get(region)

    async def _from_directory(self, ask: Callable[[], Awaitable[T]]) -> T:
        if time.monotonic() < self._away_until:
            raise DatabaseUnavailable
        try:
            return await ask()
        except DatabaseUnavailable as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            logger.warning("directory_away", reason=reason_of(error))
            raise

    async def _first_to_know(
        self, statement: TextClause, value: str, entry: str, *, name_region: bool = False
    ) -> str | None:
        """What the first region says that knows the value, or its own name; None: all answered, and none does.

        Raises:
            DatabaseUnavailable: none does, and one did not answer.
        """
        asking = {
            asyncio.create_task(_ask(place, statement, value, entry)): place.region for place in self._places.values()
        }
        # Whoever is slower may end: to be cancelled in mid-statement costs a connection.
        self._asking.update(asking)
        failure: DatabaseUnavailable | None = None
        for task in asking:
            task.add_done_callback(self._asking.discard)
        pending = set(asking)
        while pending:
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if isinstance(error := task.exception(), DatabaseUnavailable):
                    failure = error
                elif (found := task.result()) is not None:
                    return asking[task] if name_region else found
        if failure is not None:
            raise failure
        return None


async def _ask(place: Place, statement: TextClause, value: str, entry: str) -> str | None:
    try:
        async with place.database.session(entry) as connection:
            found: str | None = (await connection.execute(statement, {"value": value})).scalar_one_or_none()
            return found
    except AuthenticationError:
        return None
