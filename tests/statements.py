"""The one place where tests stand between the service and the statements that it has executed."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.db.rls import GuardedConnection


@contextmanager
def before_statements(hook: Callable[[str], Awaitable[str]]) -> Iterator[None]:
    """Give each statement to `hook` before it is executed, but for those that begin and end a transaction."""

    def hooked(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(self: GuardedConnection, query: str, *args: Any, **options: Any) -> Any:
            return await method(self, await hook(query), *args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch", "executemany"):
            patch.setattr(GuardedConnection, name, hooked(getattr(GuardedConnection, name)))
        yield


@contextmanager
def statements() -> Iterator[list[str]]:
    """All that are executed, in order."""
    seen: list[str] = []

    async def record(statement: str) -> str:
        seen.append(statement)
        return statement

    with before_statements(record):
        yield seen
