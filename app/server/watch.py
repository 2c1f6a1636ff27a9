"""One clock for all connections of a server: a timer for each request would cost more than the request's parsing."""

import asyncio
from typing import Protocol as Interface
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

TICK_SECONDS = 1.0


class Watched(Interface):
    def look(self, now: float) -> None:
        """End what has taken too long by `now`, the loop's time."""


class Watch:
    """Looks at every connection once a tick, for as long as there is one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_seconds: float) -> None:
        self._loop = loop
        self._tick_seconds = tick_seconds
        self._connections: set[Watched] = set()
        self._ticking = False

    def add(self, connection: Watched) -> None:
        self._connections.add(connection)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(self._tick_seconds, self._tick)

    def discard(self, connection: Watched) -> None:
        self._connections.discard(connection)

    def _tick(self) -> None:
        self._ticking = bool(self._connections)
        if self._ticking:
            self._loop.call_later(self._tick_seconds, self._tick)
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.look(now)


_WATCHES: WeakKeyDictionary[ServerState, Watch] = WeakKeyDictionary()


def watch_of(server: ServerState, loop: asyncio.AbstractEventLoop, tick_seconds: float) -> Watch:
    """The server's own; made with its first connection."""
    watch = _WATCHES.get(server)
    if watch is None:
        watch = _WATCHES[server] = Watch(loop, tick_seconds)
    return watch
