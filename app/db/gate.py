"""Who gets a connection next: each tenant waits in a line of its own, and none holds more than its share."""

import asyncio
from collections import Counter, OrderedDict, deque

from app.core.errors import DatabaseBusy

WAIT_SECONDS = 10.0


class Gate:
    """`places` for all, of which one line holds at most `share`. Lines are served in turn, each first in, first out.

    A tenant at full tilt on its dearest requests waits for itself; the others find places free.
    """

    def __init__(self, places: int, share: int, wait_seconds: float | None = None) -> None:
        self.places = places
        self._wait_seconds = wait_seconds
        self._free = places
        self._share = min(share, places)
        self._held: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def enter(self, line: str) -> None:
        """Take a place; raises `DatabaseBusy` if none comes in time."""
        # Whoever else waits has its share already, or no place is free.
        if self._free and self._held[line] < self._share and line not in self._lines:
            self._take(line)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(line, deque()).append(place)
        try:
            async with asyncio.timeout(WAIT_SECONDS if self._wait_seconds is None else self._wait_seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled() and place.exception() is None:  # it came in the same moment
                self.leave(line)
            else:
                self._step_out(line, place)
            if isinstance(error, TimeoutError):
                raise DatabaseBusy from None
            raise

    def leave(self, line: str) -> None:
        """Give the place back, to whoever is next."""
        self._free += 1
        self._held[line] -= 1
        if not self._held[line]:
            del self._held[line]
        while self._free and self._serve():
            pass

    def turn_away(self) -> None:
        """Raise `DatabaseBusy` for all who wait: what is behind the gate is of no use."""
        lines, self._lines = self._lines, OrderedDict()
        for waiting in lines.values():
            for place in waiting:
                if not place.done():
                    place.set_exception(DatabaseBusy())

    def _take(self, line: str) -> None:
        self._free -= 1
        self._held[line] += 1

    def _serve(self) -> bool:
        """Give a place to the first of the line whose turn it is; False if no line may have one."""
        line = next((line for line in self._lines if self._held[line] < self._share), None)
        if line is None:
            return False
        waiting = self._lines[line]
        place = waiting.popleft()
        if waiting:
            self._lines.move_to_end(line)
        else:
            del self._lines[line]
        if not place.done():  # cancelled in this moment otherwise
            self._take(line)
            place.set_result(None)
        return True

    def _step_out(self, line: str, place: asyncio.Future[None]) -> None:
        waiting = self._lines.get(line)
        if waiting and place in waiting:
            waiting.remove(place)
            if not waiting:
                del self._lines[line]
