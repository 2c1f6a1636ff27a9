"""How much work of the installation waits, in the metrics: read now and then, by each process that has some."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.core.supervision import Turns
from app.db import rls
from app.db.execution import Record
from app.db.session import Database
from app.observability.instruments import DOCUMENTS_AGE, DOCUMENTS_UNFINISHED, QUEUE_AGE, QUEUE_DEPTH, WEBHOOKS_DUE

LOOK_SECONDS = 15.0
# Across tenants, by SECURITY DEFINER functions that return counts alone.
WEBHOOKS = text("SELECT webhooks_due() AS due")
QUEUE = text("SELECT waiting, oldest_seconds FROM message_queue()")
DOCUMENTS = text("SELECT queued, processing, oldest_seconds FROM document_queue()")


class DueRow(Record):
    __slots__ = ()

    due: int


class QueueRow(Record):
    __slots__ = ()

    waiting: int
    oldest_seconds: float


class DocumentsRow(Record):
    __slots__ = ()

    queued: int
    processing: int
    oldest_seconds: float


class WaitingWork:
    """`databases`: of all regions, shown together. `queue`: whether there are workers for which messages wait.

    `documents`: whether there are any to take in.
    """

    def __init__(self, databases: Sequence[Database], *, queue: bool, documents: bool = False) -> None:
        self.turns = Turns("waiting_work")
        self._databases = databases
        self._queue, self._documents = queue, documents
        # As each said last: one that is away leaves the others to be shown.
        self._due: dict[Database, DueRow] = {}
        self._queues: dict[Database, QueueRow] = {}
        self._unfinished: dict[Database, DocumentsRow] = {}

    async def run(self) -> None:
        while True:
            await self.turns.take(self.show())
            await asyncio.sleep(LOOK_SECONDS)

    async def show(self) -> None:
        """Raises `DatabaseUnavailable` in the end, if one does not answer."""
        away: DatabaseUnavailable | None = None
        for database in self._databases:
            try:
                await self._look(database)
            except DatabaseUnavailable as error:
                away = error
        if self._due:
            WEBHOOKS_DUE.set(sum(row.due for row in self._due.values()))
        if self._queues:
            QUEUE_DEPTH.set(sum(row.waiting for row in self._queues.values()))
            QUEUE_AGE.set(max(row.oldest_seconds for row in self._queues.values()))
        if unfinished := self._unfinished.values():
            DOCUMENTS_UNFINISHED.set(sum(row.queued for row in unfinished), "queued")
            DOCUMENTS_UNFINISHED.set(sum(row.processing for row in unfinished), "processing")
            DOCUMENTS_AGE.set(max(row.oldest_seconds for row in unfinished))
        if away is not None:
            raise away

    async def _look(self, database: Database) -> None:
        async with database.background(rls.ENTER_NO_TENANT) as connection:
            self._due[database] = (await connection.execute(WEBHOOKS, {}, DueRow)).one()
            if self._queue:
                self._queues[database] = (await connection.execute(QUEUE, {}, QueueRow)).one()
            if self._documents:
                self._unfinished[database] = (await connection.execute(DOCUMENTS, {}, DocumentsRow)).one()
