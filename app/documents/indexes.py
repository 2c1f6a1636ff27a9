"""Indexes of large tenants, made and dropped by the database's owner beside a service that serves.

One of a tenant's vectors of the model in use and one of its words, each under a condition that names the tenant: nobody
else's chunks are in them, and nobody else's search passes through. PostgreSQL keeps them. A search takes them once both
are whole (`IS_INDEXED`), and does without when they are gone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.ids import is_id
from app.core.settings.unusable import UnusableSetting
from app.db.provision import owner_connection
from app.documents.large import FEW_CHUNKS, NEAR, WORDS, condition

# A tenant of fewer chunks is searched as fast without; each index costs those who write to the table, and who plan.
FROM_CHUNKS, MOST_TENANTS = FEW_CHUNKS, 100
# Iterative scans came with it.
OLDEST_PGVECTOR = (0, 8)
# Half of a core's memory of two: the graph is made in it, and anew from the disk once it is full.
BYTES_OF_A_LINK, MOST_MEGABYTES = 600, 1024
TURN = text("SELECT pg_try_advisory_lock(hashtextextended('index-documents', 0))")
VERSION = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
LARGEST = text("SELECT tenant_id, model, dimensions, chunks FROM tenants_by_chunks(:least)")
THERE = text("""
SELECT pg_class.relname AS name, pg_index.indisvalid AS valid FROM pg_index
  JOIN pg_class ON pg_class.oid = pg_index.indexrelid
WHERE pg_index.indrelid IN (to_regclass('chunk_vectors'), to_regclass('chunk_terms'))
  AND pg_class.relname ~ '^(near|words)_[0-9a-f-]{36}(_[0-9a-f]{8})?$'
ORDER BY pg_class.relname
""")
NAMES = text(f"""
SELECT {NEAR.format(tenant_id="CAST(:tenant_id AS text)", model="CAST(:model AS text)")} AS near,
  {WORDS.format(tenant_id="CAST(:tenant_id AS text)")} AS words
""")
TENANT_OF = re.compile(r"^(?:near|words)_([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    model: str
    dimensions: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index that a tenant is to have. `memory`: in megabytes, to make it in."""

    name: str
    sql: str
    memory: int
    chunks: int


class DocumentIndexes:
    """`say` is told what is done, before it is."""

    def __init__(self, owner_url: str | URL, say: Callable[[str], None], *, name: str = "") -> None:
        self._owner_url, self._say, self._of = owner_url, say, f"{name}: " if name else ""

    async def bring_up_to_date(self, least: int = FROM_CHUNKS, most: int = MOST_TENANTS) -> None:
        """Let the largest tenants of at least so many chunks have theirs, and nobody else; it may be repeated.

        Who has them keeps them down to half of that. Where too many would, those that have theirs count as twice as
        large: two of about a size do not take turns.

        Raises:
            PermissionDenied: the login is the runtime's.
            UnusableSetting: the database's pgvector is too old.
        """
        async with owner_connection(self._owner_url, autocommit=True) as owner:
            if not (await owner.execute(TURN)).scalar_one():
                self._say(f"{self._of}another one is at it")
                return
            version = (await owner.execute(VERSION)).scalar_one()
            if tuple(map(int, version.split(".")[:2])) < OLDEST_PGVECTOR:
                raise UnusableSetting("pgvector", f"large tenants need 0.8 or newer, and this database has {version}")
            await owner.execute(text("SET statement_timeout = 0"))
            await owner.execute(text("SET lock_timeout = 0"))
            # In the memory of one process: what helpers share is bounded in many containers, and this may take long.
            await owner.execute(text("SET max_parallel_maintenance_workers = 0"))
            there = {row.name: row.valid for row in await owner.execute(THERE)}
            wanted = {index.name: index for index in await self._wanted(owner, there, least, most)}
            for name, valid in there.items():
                if name not in wanted or not valid:
                    await self._drop(owner, name, "left unfinished" if not valid else "no longer needed")
            for name, index in wanted.items():
                if not there.get(name):
                    await self._make(owner, index)
            if not wanted:
                self._say(f"{self._of}no tenant has {least} chunks")

    async def forget(self, tenant_id: str) -> None:
        """Drop those of a tenant that was erased or has moved away."""
        async with owner_connection(self._owner_url, autocommit=True) as owner:
            for row in await owner.execute(THERE):
                if _tenant_of(row.name) == tenant_id:
                    await self._drop(owner, row.name, "its tenant is gone")

    async def _wanted(self, owner: AsyncConnection, there: dict[str, Any], least: int, most: int) -> Sequence[Wanted]:
        have = {_tenant_of(name) for name in there}
        rows = [Tenant(*row) for row in await owner.execute(LARGEST, {"least": least // 2}) if is_id(row.tenant_id)]
        may = [tenant for tenant in rows if tenant.chunks >= least or tenant.id in have]
        may.sort(key=lambda tenant: tenant.chunks * (2 if tenant.id in have else 1), reverse=True)
        if len(may) > most:
            self._say(f"{self._of}{len(may) - most} more tenants have {least} chunks: --most {len(may)}")
        wanted: list[Wanted] = []
        for tenant in may[:most]:
            values = {"tenant_id": tenant.id, "model": tenant.model}
            names = (await owner.execute(NAMES, values)).one()
            wanted += _indexes_of(tenant, names.near, names.words)
        return wanted

    async def _make(self, owner: AsyncConnection, index: Wanted) -> None:
        self._say(f"{self._of}making {index.name}, of {index.chunks} chunks")
        await owner.execute(text(f"SET maintenance_work_mem = '{index.memory}MB'"))
        await owner.execute(_plain(index.sql))

    async def _drop(self, owner: AsyncConnection, name: str, reason: str) -> None:
        self._say(f"{self._of}dropping {name}: {reason}")
        await owner.execute(_plain(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"'))


def _indexes_of(tenant: Tenant, near: str, words: str) -> list[Wanted]:
    megabytes = 64 + tenant.chunks * (2 * tenant.dimensions + BYTES_OF_A_LINK) // 2**20
    return [
        Wanted(
            words,
            # Entered at once: a list of pending entries would be read by every search.
            f'CREATE INDEX CONCURRENTLY "{words}" ON chunk_terms USING gin (term_places(terms))'
            f" WITH (fastupdate = off) WHERE tenant_id || '' = '{tenant.id}'",
            64,
            tenant.chunks,
        ),
        Wanted(
            near,
            f'CREATE INDEX CONCURRENTLY "{near}" ON chunk_vectors'
            f" USING hnsw ((embedding::halfvec({tenant.dimensions})) halfvec_ip_ops)"
            f" WHERE {condition(tenant.id, tenant.model)}",
            min(megabytes, MOST_MEGABYTES),
            tenant.chunks,
        ),
    ]


def _tenant_of(name: str) -> str | None:
    found = TENANT_OF.match(name)
    return found[1] if found else None


def _plain(sql: str) -> TextClause:
    """Without parameters, whatever a name has in it."""
    return text(sql.replace(":", r"\:"))
