"""Instruments of metrics. Until they are switched on they count into nothing, at the price of one comparison.

They are the process's own, as its log is: whoever has something to count names the instrument in `instruments.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

Merge = Literal["livesum", "livemax", "livemin"]
"""What several processes on one port say together: of those that live."""

ALL: "list[Instrument]" = []


class Instrument:
    """A family of series. Its labels have few values, and none that a caller chooses."""

    __slots__ = ("_children", "_family", "_make", "_shared", "help", "labels", "name")

    def __init__(self, name: str, help_: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help_, labels
        self._make: Callable[[Instrument], Any] | None = None
        self._family: Any = None
        self._shared = False
        self._children: dict[tuple[str, ...], Any] = {}
        ALL.append(self)

    @property
    def on(self) -> bool:
        return self._make is not None

    def switch_on(self, make: "Callable[[Instrument], Any]", *, shared: bool) -> None:
        """Count from here on, into what `make` makes: the client library's family of the same kind.

        `shared`: it writes to files that several processes have in common, from which nothing can be taken away.
        """
        self._make, self._family, self._shared, self._children = make, make(self), shared, {}

    def switch_off(self) -> None:
        self._make, self._family, self._children = None, None, {}

    def _child(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._family.labels(*labels) if labels else self._family
        return child


class Counter(Instrument):
    __slots__ = ()

    def add(self, *labels: str, amount: float = 1) -> None:
        if self._make is not None:
            self._child(labels).inc(amount)


class Gauge(Instrument):
    __slots__ = ("merge",)

    def __init__(self, name: str, help_: str, *labels: str, merge: Merge = "livesum") -> None:
        super().__init__(name, help_, *labels)
        self.merge = merge

    def switch_on(self, make: Callable[[Instrument], Any], *, shared: bool) -> None:
        """There is no series before the first value: what a service does not have says nothing, rather than nought."""
        self._make, self._family, self._shared, self._children = make, None, shared, {}

    def set(self, value: float, *labels: str) -> None:
        if self._make is not None:
            if self._family is None:
                self._family = self._make(self)
            self._child(labels).set(value)

    def replace(self, values: Mapping[str, float]) -> None:
        """Of a gauge with one label that comes and goes: these series, and no others that say more than nought."""
        for gone in self._children.keys() - {(label,) for label in values}:
            self.set(0, *gone)
            if not self._shared:
                del self._children[gone]
                self._family.remove(*gone)
        for label, value in values.items():
            self.set(value, label)


class Histogram(Instrument):
    """Of seconds, in buckets with these upper bounds."""

    __slots__ = ("buckets",)

    def __init__(self, name: str, help_: str, *labels: str, buckets: Sequence[float]) -> None:
        super().__init__(name, help_, *labels)
        self.buckets = buckets

    def observe(self, seconds: float, *labels: str) -> None:
        if self._make is not None:
            self._child(labels).observe(seconds)
