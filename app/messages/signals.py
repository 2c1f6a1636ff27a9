"""What the processes tell each other about messages and tenants, and who in this one waits to hear it."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from app.core.errors import TooManyStreams
from app.db.listener import Listener
from app.messages.doorbell import RUNG
from app.messages.engine import MessageEngine
from app.messages.generation import Reader
from app.messages.reader_access import ReaderAccess
from app.messages.shared_looks import SharedLooks

CHANNEL = "llm_saas_messages"
# Readers look again after this long also when they heard nothing: a notification may be lost with its connection, and
# a pooler in transaction mode hands on none.
LOOK_SECONDS = 2.0
# The messages take turns in that time.
PHASES = 8


class MessageSignals:
    """Wakes the readers of messages that run elsewhere, and cancels here what was cancelled there.

    `forget` is called with each tenant that is being erased.
    """

    def __init__(
        self,
        database_url: str,
        engine: MessageEngine,
        forget: Callable[[str], None],
        streams_per_user: int = 50,
    ) -> None:
        self.looks = SharedLooks()
        self._open_streams: Counter[str] = Counter()
        self._streams_per_user = streams_per_user
        self._forget = forget
        self._listener = Listener(database_url, CHANNEL, self._heard)
        self._engine = engine
        self.access = ReaderAccess()
        self._readers: dict[str, set[Reader]] = defaultdict(set)
        self.rung: Callable[[], None] = lambda: None
        """Called when messages wait for a worker."""
        self.providers_changed: Callable[[str], None] = lambda _: None
        """Called with each tenant that has set or taken away a key of its own at a provider."""

    def add(self, message_id: str, reader: Reader) -> None:
        self._readers[message_id].add(reader)

    def remove(self, message_id: str, reader: Reader) -> None:
        self._readers[message_id].discard(reader)
        if not self._readers[message_id]:
            del self._readers[message_id]

    def admit(self, user_id: str, reader: Reader) -> None:
        """Count the reader as one of the user's until it is closed; raises `TooManyStreams`."""
        if self._open_streams[user_id] >= self._streams_per_user:
            raise TooManyStreams
        self._open_streams[user_id] += 1
        reader.on_close = partial(self._closed, user_id)

    def _closed(self, user_id: str) -> None:
        self._open_streams[user_id] -= 1
        if not self._open_streams[user_id]:
            del self._open_streams[user_id]

    async def listen(self) -> None:
        """Hear the other processes until cancelled."""
        await self._listener.run()

    async def wake_slowly(self) -> None:
        """Let every reader look now and then, until cancelled."""
        for phase in itertools.cycle(range(PHASES)):
            await asyncio.sleep(LOOK_SECONDS / PHASES)
            if phase == 0:
                self._engine.wake_readers()
            for message_id, readers in self._readers.items():
                if hash(message_id) % PHASES == phase:
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
            self._forget(tenant_id)
            return
        if payload.startswith("providers "):
            self.providers_changed(payload.removeprefix("providers "))
            return
        if payload == RUNG:
            self.rung()
            return
        for changed in payload.split(","):
            for reader in self._readers.get(changed, ()):
                reader.wake()
