"""Places for work that many want at once, given out in turn."""

import asyncio
from collections import OrderedDict, deque

from app.core.errors import Overloaded


class Turns:
    """So many places; who must wait for one stands in the line of its share, and the lines are served in turn.

    Whoever sends a hundred waits for its own hundred, and not those who send one. When all lines together are full,
    the last in the longest gives way to a newcomer whose own line is shorter.
    """

    def __init__(self, places: int, most_waiting: int) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._waiting = 0
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, share: str) -> None:
        """Return with a place, which `give_back` frees; raises `Overloaded`."""
        if self._free:
            self._free -= 1
            return
        if self._waiting >= self._most_waiting:
            self._make_room(share)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(share, deque()).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                if place.exception() is None:  # it came at the same moment
                    self.give_back()
            else:
                self._leave(share, place)
            raise

    def give_back(self) -> None:
        if not self._lines:
            self._free += 1
            return
        share, line = next(iter(self._lines.items()))
        self._lines.move_to_end(share)
        place = line[0]
        self._leave(share, place)
        place.set_result(None)

    def _make_room(self, share: str) -> None:
        longest = max(self._lines, key=lambda name: len(self._lines[name]))
        if len(self._lines[longest]) <= len(self._lines.get(share, ())) + 1:
            raise Overloaded
        last = self._lines[longest][-1]
        self._leave(longest, last)
        last.set_exception(Overloaded())

    def _leave(self, share: str, place: "asyncio.Future[None]") -> None:
        line = self._lines[share]
        line.remove(place)
        self._waiting -= 1
        if not line:
            del self._lines[share]
