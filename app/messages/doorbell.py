"""Background messages for workers: the row is the queue, and a notification is only its doorbell.

What was reserved is found also by who never heard the bell: workers look each second.
"""

import asyncio
from datetime import timedelta

from sqlalchemy import text

from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database

RUNG = "queue"
# A notification queues the commits of the whole cluster: one for all that a process reserved meanwhile.
PAUSE_SECONDS = 0.05
RING = text(f"SELECT pg_notify('llm_saas_messages', '{RUNG}')")


class Doorbell:
    """`patience`: for so long a message may wait for a worker before it ends as failed."""

    def __init__(self, database: Database, patience: timedelta) -> None:
        self.patience = patience
        self.turns = Turns("doorbell")
        self._database = database
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """To be called once the message is committed."""
        self._rung.set()

    async def run(self) -> None:
        """Tell the workers until cancelled."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self.turns.take(self._notify())
            await asyncio.sleep(PAUSE_SECONDS)

    async def _notify(self) -> None:
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(RING)
