"""The cache of answers, for tenants that want one: what a message asks of it."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import structlog

from app.cache.announcements import Announcements
from app.cache.asking import Asker, TenantCaching
from app.cache.control import CacheControl, CacheState
from app.cache.entries import Entry, unseal
from app.cache.flights import Ask, Flights, Wanted
from app.cache.names import Names, prefix_of, shareable
from app.cache.store import Away, Store
from app.core.completion import Completion
from app.core.redis_client import client_of, refuse_wrong_password
from app.llm.base import Call
from app.models.rows import QueuedMessageRow

TENANTS_KEPT = 10_000
logger = structlog.get_logger()


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

    async def look(self, caching: TenantCaching, asker: Asker, call: Call, control: CacheControl) -> Lookup:
        """What the cache has for a message that lets it keep its answer."""
        names = self._names.of(asker.tenant_id, caching.epoch, asker.sharer(caching), call)
        wanted = Wanted(asker.tenant_id, names, caching.seconds)
        lookup = Lookup(self._flights, wanted, caching, reads=control.reads)
        await lookup.look(self.store)
        return lookup

    async def look_for_queued(self, message: QueuedMessageRow, call: Call) -> Lookup | None:
        """As `look`, for a message that a worker begins; None: it has nothing to do with the cache."""
        caching = self.learn(message.tenant_id, message.caching)
        control = CacheControl.of_queued(message.cache_use)
        if caching is None or not control.keeps or not shareable(call):
            return None
        return await self.look(caching, Asker(message.tenant_id, message.user_id), call, control)

    async def forget_tenant(self, tenant_id: str) -> None:
        """Delete what is kept of a tenant that is gone. Its epoch is gone too: what stays is unreadable."""
        self._tenants.pop(tenant_id, None)
        try:
            deleted = await self.store.purge(prefix_of(tenant_id))
        except Away:
            logger.warning("cache_not_purged", tenant_id=tenant_id)
        else:
            logger.info("cache_purged", tenant_id=tenant_id, entries=deleted)
