"""How many bytes of large bodies a process holds at once: it must not die of what its callers may send."""

from asyncio import Future
from collections import Counter
from typing import Any

from app.core.errors import Overloaded, TooManyLargeRequests


class BodiesInFlight:
    """`most_bytes` of them, half of which one tenant may have."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        return self._held.total()

    def take(self, tenant_id: str, size: int) -> None:
        """Raises `TooManyLargeRequests`, `Overloaded`: nothing is taken."""
        if self._held[tenant_id] + size > self._most_bytes // 2:
            raise TooManyLargeRequests
        if self.held + size > self._most_bytes:
            raise Overloaded
        self._held[tenant_id] += size

    def give_back(self, tenant_id: str, size: int) -> None:
        self._held[tenant_id] -= size
        if not self._held[tenant_id]:
            del self._held[tenant_id]


class HeldBody:
    """The body of one request, below `/v1`, and what any request names. It is given back with the answer, or with the
    end of what goes on after it.
    """

    __slots__ = ("_bodies", "_size", "_tenant_id", "_until")

    def __init__(self, bodies: BodiesInFlight) -> None:
        self._bodies = bodies
        self._tenant_id = ""
        self._size = 0
        self._until: Future[Any] | None = None

    def grow_to(self, size: int, tenant_id: str) -> None:
        """Before so many bytes of it are held; raises as `BodiesInFlight.take`."""
        if size > self._size:
            self._bodies.take(tenant_id, size - self._size)
            self._tenant_id, self._size = tenant_id, size

    def add(self, size: int, tenant_id: str) -> None:
        """Before bytes are held that the body, which was read, only names; raises as `BodiesInFlight.take`."""
        self.grow_to(self._size + size, tenant_id)

    def keep_until(self, end: "Future[Any]") -> None:
        """What was read of it is in use until then."""
        self._until = end

    def answered(self) -> None:
        if self._until is None or self._until.done():
            self._give_back()
        else:
            self._until.add_done_callback(lambda _: self._give_back())

    def _give_back(self) -> None:
        size, self._size = self._size, 0
        if size:
            self._bodies.give_back(self._tenant_id, size)
