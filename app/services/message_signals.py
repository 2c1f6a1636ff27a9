"""What the processes tell each other about messages and tenants, and who in this one waits to hear it."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from app.db.listener import Listener
from app.services.generation import Reader
from app.services.message_engine import MessageEngine

CHANNEL = "llm_saas_messages"
# Readers look again after this long also when they heard nothing: a notification may be lost with its connection, and
# a pooler in transaction mode hands on none.
LOOK_SECONDS = 2.0


class MessageSignals:
    """Wakes the readers of messages that run elsewhere, and cancels here what was cancelled there.

    `forget` is called with each tenant that is being erased.
    """

    def __init__(self, database_url: str, engine: MessageEngine, forget: Sequence[Callable[[str], None]] = ()) -> None:
        self._forget = forget
        self._listener = Listener(database_url, CHANNEL, self._heard)
        self._engine = engine
        self._readers: dict[str, set[Reader]] = defaultdict(set)

    def add(self, message_id: str, reader: Reader) -> None:
        self._readers[message_id].add(reader)

    def remove(self, message_id: str, reader: Reader) -> None:
        self._readers[message_id].discard(reader)
        if not self._readers[message_id]:
            del self._readers[message_id]

    async def listen(self) -> None:
        """Hear the other processes until cancelled."""
        await self._listener.run()

    async def wake_slowly(self) -> None:
        """Let every reader look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._engine.wake_readers()
            for readers in self._readers.values():
                for reader in readers:
                    reader.wake()

    def _heard(self, payload: str) -> None:
        if payload.startswith("cancel "):
            _, attempt, message_id = payload.split(" ")
            self._engine.cancel(message_id, int(attempt))
            return
        if payload.startswith("erase "):
            _, tenant_id = payload.split(" ")
            self._engine.cancel_all(tenant_id)
            for forget in self._forget:
                forget(tenant_id)
            return
        for changed in payload.split(","):
            for reader in self._readers.get(changed, ()):
                reader.wake()
