"""How much work of the installation waits, in the metrics: read now and then, by each process that has some."""

import asyncio

from sqlalchemy import text

from app.core.supervision import Turns
from app.db import rls
from app.db.execution import Record
from app.db.session import Database
from app.observability.instruments import QUEUE_AGE, QUEUE_DEPTH, WEBHOOKS_DUE

LOOK_SECONDS = 15.0
# Across tenants, by SECURITY DEFINER functions that return counts alone.
WEBHOOKS = text("SELECT webhooks_due() AS due")
QUEUE = text("SELECT waiting, oldest_seconds FROM message_queue()")


class DueRow(Record):
    __slots__ = ()

    due: int


class QueueRow(Record):
    __slots__ = ()

    waiting: int
    oldest_seconds: float


class WaitingWork:
    """`queue`: whether there are workers for which messages wait."""

    def __init__(self, database: Database, *, queue: bool) -> None:
        self.turns = Turns("waiting_work")
        self._database = database
        self._queue = queue

    async def run(self) -> None:
        while True:
            await self.turns.take(self.show())
            await asyncio.sleep(LOOK_SECONDS)

    async def show(self) -> None:
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            WEBHOOKS_DUE.set((await connection.execute(WEBHOOKS, {}, DueRow)).one().due)
            if self._queue:
                queue = (await connection.execute(QUEUE, {}, QueueRow)).one()
                QUEUE_DEPTH.set(queue.waiting)
                QUEUE_AGE.set(queue.oldest_seconds)
