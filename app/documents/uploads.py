"""How many files are on their way in at once: each is held in memory until it is stored."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.errors import Overloaded, TooManyUploads

MOST, MOST_OF_A_TENANT = 8, 2


class Uploads:
    """Of a process."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def place(self, tenant_id: str) -> Iterator[None]:
        """For one file of the tenant; raises `TooManyUploads`, `Overloaded`."""
        if self._under_way[tenant_id] >= MOST_OF_A_TENANT:
            raise TooManyUploads
        if self._under_way.total() >= MOST:
            raise Overloaded
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            if not self._under_way[tenant_id]:
                del self._under_way[tenant_id]
