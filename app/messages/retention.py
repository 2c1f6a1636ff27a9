"""Deletes messages that are older than their tenant keeps them. Their figures stay, as when somebody deletes them.

Of a tenant that keeps nothing, all goes that there was when it said so; what came since has figures alone, and stays.
What clients of other protocols let be stored loses its texts after a while, however long the tenant keeps messages.

Any process does it, one at a time for each tenant, in bounded transactions: what a killed one left is as old as before.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import BigInteger, DateTime, String, TextClause, bindparam, text

from app.core.supervision import Turns
from app.db import rls
from app.db.batches import BATCH_ROWS, BEGINNING
from app.db.execution import Connection, Row
from app.db.session import Database
from app.messages.expired_texts import BLANK, EXPIRED, FIND_EXPIRED
from app.messages.owned_content import DELETE_CONVERSATION, DELETE_MESSAGE, places
from app.messages.statements import FIGURES

LOOK_SECONDS = 600.0
# Across tenants, by a SECURITY DEFINER function. One process looks for all; the lock goes with the transaction.
DUE = text("SELECT tenants_with_old_messages() WHERE pg_try_advisory_xact_lock(hashtextextended('retention', 0))")
# False: another process is at this tenant. For the plan see `app.db.batches.ALONG_THE_KEY`.
BEGIN_BATCH = text("""
SELECT pg_try_advisory_xact_lock(hashtextextended('retention ' || :tenant_id, 0)),
  set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true)
""").bindparams(bindparam("tenant_id", type_=String))
_FIGURES = ", ".join(f"messages.{column}" for column in FIGURES.split(", "))
# What the tenant says now, not when its turn came. One that runs stays, also where it is run again: its row is where
# its answer goes.
# At the moment when a tenant says that nothing is to be kept, somebody may store what it sent before.
_LIMIT = """(SELECT CASE tenants.message_retention_days WHEN 0 THEN tenants.nothing_kept_since + interval '1 minute'
        ELSE now() - make_interval(days => tenants.message_retention_days) END
        FROM tenants WHERE tenants.id = :tenant_id)"""
_ALL_BEFORE = """(SELECT CASE tenants.message_retention_days WHEN 0 THEN tenants.nothing_kept_since ELSE 'infinity' END
        FROM tenants WHERE tenants.id = :tenant_id)"""
FIND = text(f"""
WITH found AS (
  SELECT messages.ctid AS place, {_FIGURES} FROM messages
  WHERE messages.tenant_id = :tenant_id AND (messages.created_at, messages.id) > (:created_at, :id)
    AND messages.created_at < {_LIMIT}
    AND (messages.stored OR messages.created_at < {_ALL_BEFORE})
    AND messages.status <> 'pending'
  ORDER BY messages.created_at, messages.id LIMIT :rows FOR UPDATE
), kept AS (INSERT INTO deleted_usage ({FIGURES}) SELECT {FIGURES} FROM found)
SELECT place, created_at, id FROM found ORDER BY created_at, id
""").bindparams(
    bindparam("created_at", type_=DateTime(timezone=True)),
    bindparam("id", type_=String),
    bindparam("rows", type_=BigInteger),
)
# They are text as well: what opens them, and their titles. The last of them go once nothing runs in them.
FIND_CONVERSATIONS = text("""
SELECT conversations.ctid AS place FROM conversations
WHERE conversations.tenant_id = :tenant_id
  AND EXISTS (SELECT FROM tenants WHERE tenants.id = :tenant_id AND tenants.message_retention_days = 0)
  AND NOT EXISTS (SELECT FROM messages
    WHERE messages.tenant_id = :tenant_id AND messages.conversation_id = conversations.id)
LIMIT :rows FOR UPDATE
""").bindparams(bindparam("rows", type_=BigInteger))
logger = structlog.get_logger()


Position = dict[str, Any]
"""Where the next batch of a tenant begins: after a `created_at` and an `id`."""
Batch = Callable[[str, Position], Awaitable[tuple[Position | None, int]]]
"""Of a tenant, from a position on: where the next begins, None if there is none; how many messages this one had."""


class Retention:
    """`v1_days`: after so many a text that was stored below `/v1` goes. `batch_rows`: of a transaction."""

    def __init__(self, database: Database, v1_days: int, batch_rows: int = BATCH_ROWS) -> None:
        self._database = database
        self._v1_days = v1_days
        self._batch_rows = batch_rows
        self.turns = Turns("retention")

    async def run(self) -> None:
        """Delete what became too old, until cancelled."""
        while True:
            await self.turns.take(self.look())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Delete what is too old, and blank what has expired; a failure of the one keeps nobody from the other."""
        try:
            await self.delete_old()
        finally:
            await self.blank_expired()

    async def delete_old(self) -> Counter[str]:
        """How many messages of each tenant went: a batch of each in turn, so that a large one holds up none."""
        return await self._in_turns(await self._due(DUE), self._delete_batch, "messages_too_old_deleted")

    async def blank_expired(self) -> Counter[str]:
        """Of how many messages of each tenant the texts went, in turns as above."""
        due = await self._due(EXPIRED, days=self._v1_days)
        return await self._in_turns(due, self._blank_batch, "expired_texts_blanked")

    async def _due(self, statement: TextClause, **values: Any) -> Sequence[str]:
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            return (await connection.execute(statement, values)).scalars()

    async def _in_turns(self, tenants: Sequence[str], batch: Batch, event: str) -> Counter[str]:
        left = deque((tenant_id, BEGINNING) for tenant_id in tenants)
        done: Counter[str] = Counter()
        failure: Exception | None = None
        while left:
            tenant_id, position = left.popleft()
            began = asyncio.get_running_loop().time()
            try:
                last, count = await batch(tenant_id, position)
            except Exception as error:  # noqa: BLE001 - it keeps none of the others, and is raised in the end
                failure = error
                continue
            done[tenant_id] += count
            if last is not None:
                left.append((tenant_id, last))
                # The database is the requests' for as long.
                await asyncio.sleep(asyncio.get_running_loop().time() - began)
        for tenant_id, count in done.items():
            logger.info(event, tenant_id=tenant_id, count=count)
        if failure is not None:
            raise failure
        return done

    async def _delete_batch(self, tenant_id: str, position: Position) -> tuple[Position | None, int]:
        async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
            found = await self._found(connection, FIND, tenant_id, position)
            if found:
                await connection.execute_many(DELETE_MESSAGE, places(tenant_id, found))
        after = self._after(found)
        if after is None:
            await self._delete_conversations(tenant_id)
        return after, len(found)

    async def _blank_batch(self, tenant_id: str, position: Position) -> tuple[Position | None, int]:
        async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
            found = await self._found(connection, FIND_EXPIRED, tenant_id, position | {"days": self._v1_days})
            if found:
                blanked = [{"tenant_id": tenant_id, "place": row.place, "id": row.id} for row in found]
                await connection.execute_many(BLANK, blanked)
        return self._after(found), len(found)

    async def _found(self, connection: Connection, find: TextClause, tenant_id: str, values: Position) -> list[Row]:
        """A batch, locked; none where another process is at this tenant."""
        if not (await connection.execute(BEGIN_BATCH, {"tenant_id": tenant_id})).one()[0]:
            return []
        return (await connection.execute(find, {"tenant_id": tenant_id, "rows": self._batch_rows, **values})).all()

    def _after(self, found: list[Row]) -> Position | None:
        if len(found) < self._batch_rows:
            return None
        return {"created_at": found[-1].created_at, "id": found[-1].id}

    async def _delete_conversations(self, tenant_id: str) -> None:
        """Of a tenant that keeps nothing: those that are empty."""
        count = self._batch_rows
        while count == self._batch_rows:
            async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
                if not (await connection.execute(BEGIN_BATCH, {"tenant_id": tenant_id})).one()[0]:
                    return
                values = {"tenant_id": tenant_id, "rows": self._batch_rows}
                found = (await connection.execute(FIND_CONVERSATIONS, values)).all()
                count = len(found)
                if found:
                    await connection.execute_many(DELETE_CONVERSATION, places(tenant_id, found))
