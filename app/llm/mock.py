"""A provider that needs no network and no key: deterministic, and honest about being one."""

import asyncio
from collections.abc import Sequence

from app.core.completion import Completion, FinishReason
from app.core.errors import EmptyAnswer, ProviderUnavailable
from app.core.items import Delta
from app.llm.base import Call, OnEvent
from app.llm.mock_answer import NAME, answer_to, events_of

MODEL = "mock-echo"
BURST = 64
"""Pieces handed on without a pause before the loop gets its turn."""


class MockProvider:
    """Repeats the prompt, in `latency` seconds. Every `fail_every`-th call fails, a streamed one halfway (0: none)."""

    name = NAME

    def __init__(self, latency: float = 0.0, model: str = "", fail_every: int = 0) -> None:
        self._latency = latency
        self._model = model or MODEL
        self._fail_every = fail_every
        self._calls = 0
        self.models: tuple[str, ...] = (self._model,)

    async def complete(self, call: Call) -> Completion:
        self._calls += 1
        fails = self._fail_every and self._calls % self._fail_every == 0
        answer = answer_to(call, self._model)
        if call.on_event is not None:
            events = events_of(answer)
            await self._hand_on(events, len(events) // 2 if fails else len(events), call.on_event)
        elif self._latency:
            await asyncio.sleep(self._latency)
        if fails:
            raise ProviderUnavailable
        if not answer.text and answer.finish_reason is not FinishReason.TOOL_CALLS:
            empty = EmptyAnswer()
            empty.answer = answer
            raise empty
        return answer

    async def _hand_on(self, events: Sequence[Delta], count: int, on_event: OnEvent) -> None:
        """The first `count` pieces, each at its own time after the start, so that late ones do not add up."""
        loop = asyncio.get_running_loop()
        start, step = loop.time(), self._latency / max(1, len(events))
        for number, event in enumerate(events[:count], 1):
            wait = start + number * step - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % BURST == 0:
                await asyncio.sleep(0)
            on_event(event)

    async def close(self) -> None:
        """Nothing is open."""
