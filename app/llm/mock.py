"""A provider that needs no network and no key: deterministic, and honest about being one."""

import asyncio
import re

from app.core.completion import Completion, FinishReason
from app.core.errors import ProviderUnavailable
from app.llm.base import Call, OnEvent, event_of

MODEL = "mock-echo"
BURST = 64
"""Pieces handed on without a pause before the loop gets its turn."""


class MockProvider:
    """Repeats the prompt, in `latency` seconds. Every `fail_every`-th call fails, a streamed one halfway (0: none)."""

    name = "mock"

    def __init__(self, latency: float = 0.0, model: str = "", fail_every: int = 0) -> None:
        self._latency = latency
        self._model = model or MODEL
        self._fail_every = fail_every
        self._calls = 0
        self.models: tuple[str, ...] = (self._model,)

    async def complete(self, call: Call) -> Completion:
        self._calls += 1
        fails = self._fail_every and self._calls % self._fail_every == 0
        prompt = call.messages[-1].text
        text = f"[mock] No language model is configured, so here is your prompt again: {prompt}"
        if call.on_event is not None:
            pieces = re.findall(r"\S+\s*", text)
            await self._hand_on(pieces, len(pieces) // 2 if fails else len(pieces), call.on_event)
        elif self._latency:
            await asyncio.sleep(self._latency)
        if fails:
            raise ProviderUnavailable
        read = sum(len(turn.text.split()) for turn in call.messages)
        return Completion(text, self._model, read, len(text.split()), finish_reason=FinishReason.STOP)

    async def _hand_on(self, pieces: list[str], count: int, on_event: OnEvent) -> None:
        """The first `count` pieces, each at its own time after the start, so that late ones do not add up."""
        loop = asyncio.get_running_loop()
        start, step = loop.time(), self._latency / len(pieces)
        for number, piece in enumerate(pieces[:count], 1):
            wait = start + number * step - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % BURST == 0:
                await asyncio.sleep(0)
            on_event(event_of(piece))

    async def close(self) -> None:
        """Nothing is open."""
