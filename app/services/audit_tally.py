"""What may happen often is counted, and noted in the audit log once a minute: refused logins and requests, and reading.

An entry for each would let whoever fails fill the log, and an entry at a login would take time that tells who has an
account. A process that is killed loses what it counted in its last minute; each line stands in the service's log.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import structlog

from app.core.errors import DatabaseUnavailable, TenantMoving
from app.core.principal import Origin
from app.db import rls
from app.db.failures import IntegrityViolation
from app.db.session import Database
from app.residency.places import Places
from app.services.audit_service import Actor, record

PAUSE_SECONDS = 60.0
# Of each tenant in a minute; further users are counted together.
MOST_ENTRIES = 20
MOST_TENANTS = 10_000
MOST_EXAMPLES = 5
logger = structlog.get_logger()


@dataclass(slots=True)
class _Count:
    origin: Origin
    times: int = 0
    addresses: set[str] = field(default_factory=set)
    what: set[str] = field(default_factory=set)

    def add(self, origin: Origin, what: str) -> None:
        self.times += 1
        for examples, example in ((self.addresses, origin.address), (self.what, what)):
            if example and len(examples) < MOST_EXAMPLES:
                examples.add(example)

    def absorb(self, other: "_Count") -> None:
        self.times += other.times
        self.addresses |= other.addresses
        self.what |= other.what

    def details(self) -> dict[str, object]:
        found: dict[str, object] = {"times": self.times}
        if self.addresses:
            found["addresses"] = sorted(self.addresses)
        if self.what:
            found["what"] = sorted(self.what)
        return found


Counts = dict[tuple[str, str | None], _Count]


class AuditTally:
    """One for the process. Memory is bounded: a tenant has some counts, and so many tenants have any."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._tenants: defaultdict[str, Counts] = defaultdict(dict)

    def count(self, tenant_id: str, action: str, user_id: str, origin: Origin, what: str = "") -> None:
        """Count an action of, or against, a user of the tenant; what is counted has been done."""
        if tenant_id not in self._tenants and len(self._tenants) >= MOST_TENANTS:
            return
        counts = self._tenants[tenant_id]
        key = (action, user_id) if (action, user_id) in counts or len(counts) < MOST_ENTRIES else (action, None)
        counts.setdefault(key, _Count(origin)).add(origin, what)

    async def run(self) -> None:
        """Note what was counted every minute, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Note what was counted; it is forgotten if the database is away, and if the tenant is.

        What a tenant has that nobody may write to, because it is moving, is noted the next time.
        """
        taken, self._tenants = self._tenants, defaultdict(dict)
        away: set[Database] = set()
        for tenant_id, counts in taken.items():
            database: Database | None = None
            try:
                database = (await self._places.of_caller(tenant_id)).database
                if database not in away:
                    await self._note(database, tenant_id, counts)
            except TenantMoving:
                self._put_back(tenant_id, counts)
            except DatabaseUnavailable:
                logger.warning("audit_tally_lost", reason="database unavailable", tenants=len(taken))
                if database is not None:
                    away.add(database)
            except IntegrityViolation:
                logger.info("audit_tally_lost", reason="the tenant is gone", tenant_id=tenant_id)

    def _put_back(self, tenant_id: str, counts: Counts) -> None:
        newer = self._tenants[tenant_id]
        for key, count in counts.items():
            newer.setdefault(key, _Count(count.origin)).absorb(count)

    async def _note(self, database: Database, tenant_id: str, counts: Counts) -> None:
        async with database.session(rls.enter_tenant(tenant_id)) as connection:
            for (action, user_id), count in counts.items():
                actor = Actor(tenant_id, "anonymous", count.origin)
                await record(connection, actor, action, user_id, **count.details())
