"""Waiting in tests: for what happens, never for time. The one bound is there to end a hang; it judges no speed."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

# Far beyond what the slowest machine takes; TEST_PATIENCE=3 makes it three times as long.
PATIENCE_SECONDS = 100.0 * float(os.environ.get("TEST_PATIENCE", "1"))
# Between two looks at what has no signal to wait for.
LOOK_SECONDS = 0.01
T = TypeVar("T")


async def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition, plain or awaited, that is asked again and again.

    `what` is what is waited for; it stands in the error, with the last value.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:g} s for {what}; at last it was {found!r}"
        await asyncio.sleep(LOOK_SECONDS)


async def within_patience(awaitable: Awaitable[T], what: str) -> T:
    """What is awaited, which has a signal of its own."""
    async with patience(what):
        return await awaitable


@asynccontextmanager
async def patience(what: str) -> AsyncIterator[None]:
    """A block that waits for `what` and must not hang."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise AssertionError(f"waited {PATIENCE_SECONDS:g} s for {what}") from None
