"""How long a request waits for Redis."""

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter

from app.observability import tracing
from app.observability.instruments import REDIS_SECONDS

_UNSEEN = nullcontext()


def redis_trip(purpose: str, operation: str) -> AbstractContextManager[None]:
    """Around a trip. `purpose` is a label of metrics, `operation` is Redis's name of the command, without arguments."""
    return _RedisTrip(purpose, operation) if REDIS_SECONDS.on or tracing.recorded() else _UNSEEN


class _RedisTrip:
    __slots__ = ("_began", "_operation", "_purpose", "_span")

    def __init__(self, purpose: str, operation: str) -> None:
        self._purpose, self._operation = purpose, operation

    def __enter__(self) -> None:
        self._began = perf_counter()
        attributes = {"db.system.name": "redis", "db.operation.name": self._operation}
        self._span = tracing.begin_part(f"{self._operation} {self._purpose}", attributes)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        REDIS_SECONDS.observe(perf_counter() - self._began, self._purpose)
        if self._span is not None:
            if kind is not None:
                tracing.failed(self._span, kind.__name__)
            self._span.end()
