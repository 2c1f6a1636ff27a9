"""Looks for words wherever the service could have left them: rows, pages, the log of changes, Redis, log files.

What this login cannot look at is said, and not passed over.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.redis_client import client_of
from app.db import rls
from app.db.provision import owner_connection
from app.db.session import Database
from app.services.canaries import Needles

CHUNK = 4 * 2**20
# Longer than any form of a word: one may lie across two chunks.
OVERLAP = 64
REDIS_SECONDS = 30.0
# Where a document stands, and what is made of it; the statistics have values of its columns.
OF_DOCUMENTS = {
    "pg_catalog.pg_stats",
    *(
        f"public.{table}"
        for table in (
            "documents", "document_contents", "document_chunks", "chunk_vectors", "chunk_terms", "term_frequencies",
        )
    ),
}  # fmt: skip
WHO = text("SELECT rolsuper OR rolbypassrls, rolsuper FROM pg_roles WHERE rolname = current_user")
TABLES = text("""
SELECT format('%I.%I', pg_namespace.nspname, pg_class.relname) FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_class.relkind IN ('r', 'm') AND NOT pg_class.relispartition
  AND pg_namespace.nspname !~ '^pg_' AND pg_namespace.nspname <> 'information_schema'
UNION ALL SELECT format('%I.%I', pg_namespace.nspname, pg_class.relname) FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_class.relname = 'pg_stat_statements' AND pg_class.relkind = 'v'
UNION ALL SELECT 'pg_catalog.pg_stats'
""")
# Tables, their indexes and what is too long for them, with rows that are dead by now.
FILES = text("""
SELECT pg_class.relname AS name, pg_relation_filepath(pg_class.oid) AS path, pg_relation_size(pg_class.oid) AS size
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_relation_filepath(pg_class.oid) IS NOT NULL AND pg_relation_size(pg_class.oid) > 0
  AND (pg_namespace.nspname ~ '^pg_toast' OR pg_namespace.nspname !~ '^pg_')
  AND pg_namespace.nspname <> 'information_schema' AND pg_class.relpersistence <> 't'
""")
SEGMENT = 2**30
READ = text("SELECT pg_read_binary_file(CAST(:path AS text), :start, :length, true)")
LOG_NOW = text("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
LOG_FILES = text("""
SELECT name, size FROM pg_ls_waldir() WHERE name >= :first AND name <= pg_walfile_name(pg_current_wal_insert_lsn())
  AND name ~ '^[0-9A-F]{24}$' ORDER BY name
""")


class Report:
    """`found`: where, and by which way it came there. `unseen`: what could not be looked at."""

    def __init__(self) -> None:
        self.looked: list[str] = []
        self.found: list[str] = []
        self.unseen: list[str] = []

    def add(self, where: str, ways: set[str]) -> None:
        self.found += [f"{where}: {way}" for way in sorted(ways)]


class DatabaseTraces:
    """Of one database, by its owner's login; where row-level security holds that, as the runtime in the tenant."""

    def __init__(self, owner_url: str, database: Database, tenant_id: str) -> None:
        self._owner_url, self._database, self._tenant_id = owner_url, database, tenant_id
        self._first = ""

    async def begin(self) -> None:
        """From here on the log of changes is looked through."""
        async with owner_connection(self._owner_url, autocommit=True) as owner:
            self._first = (await owner.execute(LOG_NOW)).scalar_one()

    async def look(self, needles: Needles, report: Report) -> None:
        async with owner_connection(self._owner_url, autocommit=True) as owner:
            sees_all, superuser = (await owner.execute(WHO)).one()
            tables = list((await owner.execute(TABLES)).scalars())
            if sees_all:
                await _look_at_rows(owner, tables, needles, report)
                report.looked.append(f"{len(tables)} tables, all rows")
            else:
                await self._look_as_the_tenant(tables, needles, report)
            if superuser:
                await _look_at_pages(owner, needles, report)
                await self._look_at_changes(owner, needles, report)
            else:
                report.unseen.append("pages of tables and indexes, and the log of changes (WAL): for a superuser alone")

    async def look_beside_documents(self, needles: Needles, report: Report) -> None:
        """For what a document says, which is kept: in rows of anything else. Pages and the log of changes have it."""
        async with owner_connection(self._owner_url, autocommit=True) as owner:
            if (await owner.execute(WHO)).one()[0]:
                tables = [table for table in (await owner.execute(TABLES)).scalars() if table not in OF_DOCUMENTS]
                await _look_at_rows(owner, tables, needles, report)
                report.looked.append(f"{len(tables)} tables, for what a document says")

    async def _look_as_the_tenant(self, tables: list[str], needles: Needles, report: Report) -> None:
        count = 0
        for table in tables:
            try:
                async with self._database.background(rls.enter_tenant(self._tenant_id)) as connection:
                    found = (await connection.execute(_search(table), {"common": needles.common})).scalars()
            except Exception as error:  # noqa: BLE001 - what it may not read is said
                report.unseen.append(f"table {table}: {type(error).__name__}")
                continue
            count += 1
            report.add(f"table {table}", needles.within("\n".join(found).encode()))
        report.looked.append(f"{count} tables, the tenant's rows")
        report.unseen.append("rows of other tenants: for a login that row-level security does not hold")

    async def _look_at_changes(self, owner: AsyncConnection, needles: Needles, report: Report) -> None:
        files = (await owner.execute(LOG_FILES, {"first": self._first})).all()
        for name, size in files:
            async for data in _chunks(owner, f"pg_wal/{name}", size):
                report.add(f"log of changes {name}", needles.within(data))
        report.looked.append(f"{len(files)} files of the log of changes")
        if (await owner.execute(text("SHOW wal_compression"))).scalar_one() != "off":
            report.unseen.append("images of pages in the log of changes: wal_compression is on")


def _search(table: str) -> Any:
    """The rows in which a word begins: every column is in the text of a row."""
    row = "lower(searched::text)"
    return text(
        f"SELECT {row} FROM {table} AS searched, unnest(CAST(:common AS text[])) AS form WHERE strpos({row}, form) > 0"
    )


async def _look_at_rows(owner: AsyncConnection, tables: Sequence[str], needles: Needles, report: Report) -> None:
    for table in tables:
        found = (await owner.execute(_search(table), {"common": needles.common})).scalars()
        report.add(f"table {table}", needles.within("\n".join(found).encode()))


async def _look_at_pages(owner: AsyncConnection, needles: Needles, report: Report) -> None:
    await owner.execute(text("CHECKPOINT"))
    read = 0
    files = (await owner.execute(FILES)).all()
    for name, path, size in files:
        for number in range(-(-size // SEGMENT)):
            part = f"{path}.{number}" if number else path
            async for data in _chunks(owner, part, min(size - number * SEGMENT, SEGMENT)):
                report.add(f"pages of {name}", needles.within(data))
        read += size
    report.looked.append(f"the pages of {len(files)} tables and indexes, {read / 1e6:.0f} MB")


async def _chunks(owner: AsyncConnection, path: str, size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, CHUNK):
        values = {"path": path, "start": start, "length": CHUNK + OVERLAP}
        data: bytes | None = (await owner.execute(READ, values)).scalar_one()
        yield data or b""  # gone since


async def look_in_redis(url: str, needles: Needles, report: Report) -> None:
    client = client_of(url, REDIS_SECONDS)
    count = 0
    try:
        async for key in client.scan_iter(count=1000):
            count += 1
            report.add(f"Redis key {key!r}", needles.within(key + b" " + await _value(client, key)))
    finally:
        await client.aclose()
    report.looked.append(f"{count} keys of Redis")


async def _value(client: Any, key: bytes) -> bytes:
    reads = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: client.xrange(key),
    }
    read = reads.get(await client.type(key))
    return b"" if read is None else repr(await read()).encode()  # gone since


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def look_in_log(path: str, start: int, needles: Needles, report: Report) -> None:
    with Path(path).open("rb") as log:
        log.seek(start)
        report.add(f"log {path}", needles.within(log.read()))
    report.looked.append(f"log {path}")
