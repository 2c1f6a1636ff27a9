"""How long a trip to Redis takes, and how long a request waits for it."""

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter

from app.observability import tracing
from app.observability.instruments import REDIS_SECONDS

_UNSEEN = nullcontext()


def redis_trip(purpose: str, operation: str) -> AbstractContextManager[None]:
    """Around a trip. `purpose` is a label of metrics, `operation` says what it is for: no name of a key, no value."""
    return _RedisTrip(purpose, operation) if REDIS_SECONDS.on or tracing.recorded() else _UNSEEN


def redis_wait(purpose: str, operation: str) -> AbstractContextManager[object]:
    """Around the wait of a request for a trip that it shares with others: a span of its own, and nothing counted."""
    return tracing.part(f"{operation} {purpose}", _described(operation)) if tracing.recorded() else _UNSEEN


def _described(operation: str) -> dict[str, str]:
    return {"db.system.name": "redis", "db.operation.name": operation}


class _RedisTrip:
    __slots__ = ("_began", "_operation", "_purpose", "_span")

    def __init__(self, purpose: str, operation: str) -> None:
        self._purpose, self._operation = purpose, operation

    def __enter__(self) -> None:
        self._began = perf_counter()
        self._span = tracing.begin_part(f"{self._operation} {self._purpose}", _described(self._operation))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        REDIS_SECONDS.observe(perf_counter() - self._began, self._purpose)
        if self._span is not None:
            if kind is not None:
                tracing.failed(self._span, kind.__name__)
            self._span.end()
