"""Providers that a test holds in its hand."""

import asyncio

from app.core.errors import ProviderError
from app.llm.base import Completion, Turn


class HeldProvider:
    """Answers when the test says so: `called` counts the calls that wait, `release` lets all of them go."""

    name = "held"

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Condition()
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def complete(self, turns: list[Turn]) -> Completion:
        async with self.called:
            self.calls += 1
            self.called.notify_all()
        await self.release.wait()
        if self.error:
            raise self.error
        return Completion(f"answer to {turns[-1].content}", "held-1", 1, 2)

    async def wait_for_calls(self, count: int) -> None:
        async with asyncio.timeout(20), self.called:
            await self.called.wait_for(lambda: self.calls >= count)

    async def close(self) -> None: ...


class FailingProvider:
    name = "failing"

    def __init__(self, error: ProviderError) -> None:
        self.error = error

    async def complete(self, turns: list[Turn]) -> Completion:
        raise self.error

    async def close(self) -> None: ...
