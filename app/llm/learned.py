"""What was learned of servers from what they refused, by their address: the latest asked are remembered."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_SERVERS = 1000
"""Tenants bring their own."""

T = TypeVar("T")


class Learned(Generic[T]):
    def __init__(self, at_first: Callable[[str], T]) -> None:
        self._at_first = at_first
        self._known: OrderedDict[str, T] = OrderedDict()

    def of(self, url: str) -> T:
        return self._known[url] if url in self._known else self._at_first(url)

    def keep(self, url: str, learned: T) -> None:
        self._known[url] = learned
        self._known.move_to_end(url)
        if len(self._known) > MAX_SERVERS:
            self._known.popitem(last=False)
