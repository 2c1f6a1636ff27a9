"""Erasing a tenant: marked first, then emptied in bounded transactions, then deleted.

mark    a short transaction of the admin's; from its commit on nobody enters the tenant any more
shred   the keys that its secrets and its texts are sealed with
empty   messages, conversations, documents, users (with all that is theirs) and history, some rows a transaction
delete  the tenant, with what little is left

A killed process leaves the mark; another one goes on. See docs/adr/0016-erasing-a-tenant.md.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import DateTime, Interval, String, TextClause, bindparam, text

from app.core.errors import DatabaseUnavailable, NameNotConfirmed
from app.core.supervision import Turns
from app.db import rls
from app.db.batches import BATCH_ROWS, BEGINNING, was_rolled_back
from app.db.execution import Connection
from app.db.session import Database, TenantSession
from app.residency.claims import ONE_REGION, Claims

# A user takes rows of seven tables along.
BATCH_USERS = 100
# Longer than a batch may take: until then the erasure is the process's that began it.
SILENCE = timedelta(minutes=1)
LOOK_SECONDS = 20.0

# Of the transaction's tenant, by functions: the runtime role may neither set nor unset the mark, nor delete a tenant.
# All processes hear of the mark when the transaction commits.
MARK = text("SELECT begin_erasure(:name)")
# Shows that somebody works on it; two who do take turns. Without sorting, an index in the order of the batches is the
# only way to them: a planner that expects few rows would sort all that is left of the tenant for each batch.
GO_ON = text("SELECT continue_erasure(), set_config('enable_sort', 'off', true)")
# Each batch begins where the last one ended: from the beginning it would pass all that is deleted already. It is a
# range of the key and no join: statistics may be older than the tenant, and a join planned for one row compares each
# row of the tenant with each of the batch. No edge: what is left fits into this batch. The bound is made outside the
# DELETE, because row-level security lets an index decide by nothing that might leak, and COALESCE counts as such.
_EMPTY = """
WITH edge AS (
  SELECT {table}.created_at, {table}.id FROM {table}
  WHERE {table}.tenant_id = :tenant_id AND ({table}.created_at, {table}.id) > (:created_at, :id)
  ORDER BY {table}.created_at, {table}.id OFFSET {rows} - 1 LIMIT 1
), bound AS (
  SELECT COALESCE((SELECT edge.created_at FROM edge), 'infinity') AS created_at,
         COALESCE((SELECT edge.id FROM edge), '') AS id
), gone AS (
  DELETE FROM {table} WHERE {table}.tenant_id = :tenant_id
    AND ({table}.created_at, {table}.id) > (:created_at, :id)
    AND ({table}.created_at, {table}.id) <= ((SELECT bound.created_at FROM bound), (SELECT bound.id FROM bound))
  RETURNING {table}.id
)
SELECT (SELECT edge.created_at FROM edge) AS created_at, (SELECT edge.id FROM edge) AS id,
       (SELECT count(*) FROM gone) AS rows
"""
# They take their vectors and their words along; a document has any number of them.
_EMPTY_CHUNKS = """
WITH edge AS (
  SELECT document_chunks.id FROM document_chunks
  WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.id > :id
  ORDER BY document_chunks.id OFFSET {rows} - 1 LIMIT 1
), gone AS (
  DELETE FROM document_chunks WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.id > :id
    AND document_chunks.id <= COALESCE((SELECT edge.id FROM edge), 'g')
  RETURNING document_chunks.id
)
SELECT NULL::timestamptz AS created_at, (SELECT edge.id FROM edge) AS id, (SELECT count(*) FROM gone) AS rows
""".replace("::", r"\:\:")
# Before all else: from its commit on nothing opens what it sealed, and the tenant's calls do not take another's keys.
SHRED = text("DELETE FROM tenant_data_keys WHERE tenant_data_keys.tenant_id = :tenant_id")
# Who wraps the text key anew holds this row: none is put back. What a move left has the key of a tenant that lives on.
SHRED_TEXTS = text("""
DELETE FROM text_keys WHERE text_keys.tenant_id = :tenant_id
""")
FOR_GOOD = text("SELECT is_erased_for_good()")
ERASE_HISTORY = text("SELECT erase_history(:rows)")
# Again for who came late: a message that was reserved while the mark was set, a token that was verified since.
FINISH = text("SELECT finish_erasure()")
CLAIM_ABANDONED = text("SELECT claim_abandoned_erasure(:silence)").bindparams(bindparam("silence", type_=Interval))
logger = structlog.get_logger()


def emptying(table: str, rows: int) -> TextClause:
    return text(_EMPTY.format(table=table, rows=rows)).bindparams(
        bindparam("created_at", type_=DateTime(timezone=True)), bindparam("id", type_=String)
    )


class ErasureService:
    """The caller's tenant, to be erased."""

    def __init__(self, db: TenantSession, eraser: "TenantEraser") -> None:
        self._db = db
        self._eraser = eraser

    async def erase(self, name: str) -> None:
        """Erase the tenant and all that it owns; raises `NameNotConfirmed`.

        If the database goes away in the middle it raises `DatabaseUnavailable`, and the erasure goes on by itself.
        """
        caller = self._db.principal
        async with self._db.begin() as connection:
            if not (await connection.execute(MARK, {"name": name})).scalar_one():
                raise NameNotConfirmed
        logger.info("tenant_erasure_begun", tenant_id=caller.tenant_id, user_id=caller.user_id)
        await self._eraser.erase(caller.tenant_id)


class TenantEraser:
    """Empties and deletes tenants that are marked, also those whose process was killed. It may be repeated."""

    def __init__(
        self,
        database: Database,
        batch_rows: int = BATCH_ROWS,
        batch_users: int = BATCH_USERS,
        *,
        also: Callable[[str], Awaitable[None]] | None = None,
        claims: Claims = ONE_REGION,
    ) -> None:
        """`also` erases what is kept of a tenant beside the database. It may fail to: it raises nothing."""
        self._also = also
        self._database = database
        self._claims = claims
        self._batch_rows = batch_rows
        self.turns = Turns("erasures")
        self._tables = {
            "messages": emptying("messages", batch_rows),
            "conversations": emptying("conversations", batch_rows),
            "document_chunks": text(_EMPTY_CHUNKS.format(rows=batch_rows)).bindparams(bindparam("id", type_=String)),
            "documents": emptying("documents", batch_users),
            "users": emptying("users", batch_users),
        }

    async def run(self) -> None:
        """Finish what other processes left, until cancelled."""
        while True:
            await self.turns.take(self.finish_abandoned())
            await asyncio.sleep(LOOK_SECONDS)

    async def finish_abandoned(self) -> None:
        while tenant_id := await self._claim():
            logger.warning("tenant_erasure_taken_over", tenant_id=tenant_id)
            await self.erase(tenant_id)

    async def _claim(self) -> str | None:
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            found: str | None = (await connection.execute(CLAIM_ABANDONED, {"silence": SILENCE})).scalar_one()
            return found

    async def erase(self, tenant_id: str) -> None:
        """Return when nothing of a marked tenant is left."""
        counts: Counter[str] = Counter()

        texts = self._database.texts

        async def shred(connection: Connection) -> bool:
            await connection.execute(SHRED, {"tenant_id": tenant_id})
            await connection.execute(SHRED_TEXTS, {"tenant_id": tenant_id})
            for_good: bool = (await connection.execute(FOR_GOOD)).scalar_one()
            if texts is not None and for_good:
                await texts.destroy(tenant_id)
            return for_good

        for_good = await self._transaction(tenant_id, shred)
        for table, statement in self._tables.items():
            counts[table] = await self._empty(tenant_id, statement)
        counts["history"] = await self._erase_history(tenant_id)

        async def finish(connection: Connection) -> Any:
            return (await connection.execute(FINISH)).scalar_one()

        if self._also is not None:
            await self._also(tenant_id)
        if await self._transaction(tenant_id, finish):
            if texts is not None and for_good:
                await texts.destroy(tenant_id)  # made by who came late
            logger.info("tenant_erased", tenant_id=tenant_id, **counts)
            await self._claims.forget_tenant(tenant_id)

    async def _empty(self, tenant_id: str, statement: TextClause) -> int:
        count = 0
        position: dict[str, Any] | None = BEGINNING

        async def batch(connection: Connection) -> Any:
            return (await connection.execute(statement, {"tenant_id": tenant_id, **(position or {})})).one()

        while position and (last := await self._transaction(tenant_id, batch)):
            count += last.rows
            position = {"created_at": last.created_at, "id": last.id} if last.id else None
        return count

    async def _erase_history(self, tenant_id: str) -> int:
        count = 0

        async def batch(connection: Connection) -> Any:
            return (await connection.execute(ERASE_HISTORY, {"rows": self._batch_rows})).scalar_one()

        while erased := await self._transaction(tenant_id, batch):
            count += erased
        return count

    async def _transaction(self, tenant_id: str, work: Callable[[Connection], Awaitable[Any]]) -> Any:
        """What `work` returns; None if the tenant is gone. What the database gave up for another begins again."""
        while True:
            try:
                async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
                    if not (await connection.execute(GO_ON)).scalar_one():
                        return None
                    return await work(connection)
            except DatabaseUnavailable as error:
                if not was_rolled_back(error):
                    raise
                logger.warning("erasure_repeated", tenant_id=tenant_id, reason="rolled back by the database")
