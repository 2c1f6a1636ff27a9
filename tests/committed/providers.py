"""Providers that a test holds in its hand."""

import asyncio
from collections.abc import Sequence

from app.core.errors import ProviderError
from app.core.items import Message, TextDelta
from app.llm.base import Call, Completion, OnEvent
from tests.waiting import patience


class HeldProvider:
    """Answers when the test says so: `calls` counts, `release` lets all of them go, `say` hands on text at once."""

    name = "held"
    models = ("held-1",)

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.turns: list[Sequence[Message]] = []
        self.called = asyncio.Condition()
        self.release = asyncio.Event()
        self.error: Exception | None = None
        self._listeners: set[OnEvent] = set()
        self._said = ""

    async def complete(self, call: Call) -> Completion:
        async with self.called:
            self.calls += 1
            self.turns.append(call.items)
            if call.on_event:
                self._listeners.add(call.on_event)
            self.called.notify_all()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._listeners.discard(call.on_event)  # type: ignore[arg-type]
        if self.error:
            raise self.error
        text = self._said if call.on_event else f"answer to {call.messages[-1].text}"
        return Completion(text, "held-1", 1, 2)

    def say(self, text: str) -> None:
        self._said += text
        for listener in self._listeners:
            listener(TextDelta(text))

    async def wait_for_calls(self, count: int) -> None:
        async with patience(f"{count} calls of the provider"), self.called:
            await self.called.wait_for(lambda: self.calls >= count)

    async def close(self) -> None: ...


class FailingProvider:
    name = "failing"
    models = ("failing-1",)

    def __init__(self, error: ProviderError) -> None:
        self.error = error

    async def complete(self, call: Call) -> Completion:
        raise self.error

    async def close(self) -> None: ...
