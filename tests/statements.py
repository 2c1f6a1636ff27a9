"""The one place where tests stand between the service and the statements that it has executed."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.db.rls import GuardedConnection


@contextmanager
def before_statements(hook: Callable[[str], Awaitable[str]]) -> Iterator[None]:
    """Give each statement to `hook` before it is executed, but for those that begin and end a transaction."""
    fetch = GuardedConnection.fetch

    async def hooked(self: GuardedConnection, query: str, *args: Any, **options: Any) -> Any:
        return await fetch(self, await hook(query), *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardedConnection, "fetch", hooked)
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
