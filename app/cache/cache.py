"""The cache of answers, for tenants that want one: what a message asks of it."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import structlog

from app.cache.announcements import Announcements
from app.cache.control import CacheControl, CacheState
from app.cache.entries import Entry, unseal
from app.cache.flights import Ask, Flights, Wanted
from app.cache.names import Names, prefix_of
from app.cache.store import Away, Store
from app.core.completion import Completion
from app.core.principal import Principal
from app.core.redis_client import client_of, refuse_wrong_password
from app.llm.base import Turn

TENANTS_KEPT = 10_000
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TenantCaching:
    """How a tenant caches: for how many seconds, since which epoch, and whether its users share their answers."""

    seconds: int
    epoch: str
    shared: bool

    @classmethod
    def of(cls, stored: Sequence[Any]) -> Self | None:
        """`cache_ttl_seconds`, `cache_epoch` and `message_visibility` of a tenant; None: it does not."""
        seconds, epoch, visibility = stored
        return None if seconds is None or epoch is None else cls(seconds, epoch, visibility == "tenant")


class Lookup:
    """What a message has of the cache: an answer that was kept, or the right to share one that comes."""

    __slots__ = ("_flights", "_reads", "_wanted", "caching", "entry", "looked")

    def __init__(self, flights: Flights, wanted: Wanted, caching: TenantCaching, *, reads: bool) -> None:
        self._flights = flights
        self._wanted = wanted
        self._reads = reads
        self.caching = caching
        self.entry: Entry | None = None
        self.looked = False

    async def look(self, store: Store) -> None:
        if not self._reads:
            return
        try:
            kept = await store.look([name.name for name in self._wanted.names])
        except Away:
            return
        self.looked = True
        for name, sealed in zip(self._wanted.names, kept, strict=True):
            if sealed is not None and self.entry is None:
                self.entry = unseal(sealed, name, self._wanted.tenant_id)
                if self.entry is None:
                    logger.error("cache_entry_refused", tenant_id=self._wanted.tenant_id)

    @property
    def state(self) -> CacheState:
        return "hit" if self.entry else "miss" if self.looked else "bypass"

    @property
    def age(self) -> int:
        """Of what was kept, in seconds."""
        return 0 if self.entry is None else max(0, int(time.time() - self.entry.made_at))

    async def answer(self, ask: Ask) -> Completion:
        """What was kept, or what an equal call gets, or what asking gets; raises what asking raises."""
        if self.entry is not None:
            return self.entry.completion()
        return await (self._flights.share if self._reads else self._flights.keep)(self._wanted, ask)


class ResponseCache:
    """In Redis while it answers; without it, equal calls at the same time still share one within the process.

    What a tenant wants is remembered from its last message, so that one is looked up before it is stored. Storing says
    how it is now: what was found by an outdated memory is not used.
    """

    def __init__(self, url: str, names: Names, wait_seconds: float) -> None:
        self._url = url
        self.store = Store(url)
        # Who listens is silent for long, and a connection of its own.
        self._listener = client_of(url, 1.0)
        announcements = Announcements(self._listener)
        self._announcements = announcements
        self._flights = Flights(self.store, announcements, wait_seconds)
        self._names = names
        self._tenants: OrderedDict[str, TenantCaching | None] = OrderedDict()

    async def open(self) -> None:
        """Raise `UnusableSetting` if Redis does not let us in."""
        await refuse_wrong_password(self._url)
        await self.store.open()

    async def close(self) -> None:
        await self._flights.close()
        await self._announcements.close()
        await self.store.close()
        await self._listener.aclose()

    def known(self, tenant_id: str) -> TenantCaching | None:
        """How the tenant caches, as far as this process knows."""
        return self._tenants.get(tenant_id)

    def learn(self, tenant_id: str, stored: Sequence[Any]) -> TenantCaching | None:
        """How it is now, see `TenantCaching.of`."""
        caching = TenantCaching.of(stored)
        self._tenants[tenant_id] = caching
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > TENANTS_KEPT:
            self._tenants.popitem(last=False)
        return caching

    async def look(
        self, caching: TenantCaching, caller: Principal, turns: Sequence[Turn], control: CacheControl
    ) -> Lookup | None:
        """What the cache has for a message; None: nothing, and it wants nothing."""
        if not control.keeps:
            return None
        names = self._names.of(caller.tenant_id, caching.epoch, _sharer(caching, caller), turns)
        wanted = Wanted(caller.tenant_id, names, caching.seconds)
        lookup = Lookup(self._flights, wanted, caching, reads=control.reads)
        await lookup.look(self.store)
        return lookup

    async def forget_tenant(self, tenant_id: str) -> None:
        """Delete what is kept of a tenant that is gone. Its epoch is gone too: what stays is unreadable."""
        self._tenants.pop(tenant_id, None)
        try:
            deleted = await self.store.purge(prefix_of(tenant_id))
        except Away:
            logger.warning("cache_not_purged", tenant_id=tenant_id)
        else:
            logger.info("cache_purged", tenant_id=tenant_id, entries=deleted)


def _sharer(caching: TenantCaching, caller: Principal) -> str:
    """Who alone may have the answer. A key that may not read what others asked shares nothing with them."""
    if "messages:read" not in caller.scopes:
        return f"key:{caller.key_id}"
    return "" if caching.shared else f"user:{caller.user_id}"
