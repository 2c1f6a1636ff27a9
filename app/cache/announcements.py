"""What processes tell each other by Redis of the calls that have ended."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from app.cache.store import CHANNEL
from app.core.trips import start

STOP_SECONDS = 1.0
logger = structlog.get_logger()


class Announcements:
    """Connected from the first time that somebody waits. Who waits looks by itself too: what is told may get lost."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._waiting: dict[str, set[Callable[[str], None]]] = {}
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def about(self, name: str) -> Iterator["Told"]:
        """Hear of this call within the block."""
        told = Told()
        self._waiting.setdefault(name, set()).add(told.tell)
        if self._listening is None:
            self._listening = start(self._listen())
        try:
            yield told
        finally:
            self._waiting[name].discard(told.tell)
            if not self._waiting[name]:
                del self._waiting[name]

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening}, timeout=STOP_SECONDS)

    async def _listen(self) -> None:
        try:
            async with self._redis.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                while True:
                    message = await channel.get_message(ignore_subscribe_messages=True, timeout=None)
                    if message is not None:
                        self._hear(message["data"])
        except Exception as error:  # noqa: BLE001 - the next one to wait connects again
            logger.warning("cache_not_heard", error=type(error).__name__)
        finally:
            self._listening = None

    def _hear(self, data: bytes) -> None:
        with suppress(UnicodeDecodeError):
            name, _, ended = data.decode().rpartition(" ")
            for tell in tuple(self._waiting.get(name, ())):
                tell(ended)


class Told:
    """The last thing that was told of a call."""

    __slots__ = ("_ended", "_event")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._ended = ""

    def tell(self, ended: str) -> None:
        self._ended = ended
        self._event.set()

    async def within(self, seconds: float) -> str:
        """What was told since the last time, or is within so many seconds; "": nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._event.wait()
        self._event.clear()
        ended, self._ended = self._ended, ""
        return ended
