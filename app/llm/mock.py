"""A provider that needs no network and no key: deterministic, and honest about being one."""

import asyncio

from app.core.errors import ProviderUnavailable
from app.llm.base import Completion, Turn

MODEL = "mock-echo"


class MockProvider:
    """Repeats the prompt after `latency` seconds; every `fail_every`-th call fails (0: none)."""

    name = "mock"

    def __init__(self, latency: float = 0.0, model: str = "", fail_every: int = 0) -> None:
        self._latency = latency
        self._model = model or MODEL
        self._fail_every = fail_every
        self._calls = 0

    async def complete(self, turns: list[Turn]) -> Completion:
        self._calls += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        if self._fail_every and self._calls % self._fail_every == 0:
            raise ProviderUnavailable
        prompt = turns[-1].content
        text = f"[mock] No language model is configured, so here is your prompt again: {prompt}"
        return Completion(text, self._model, sum(len(turn.content.split()) for turn in turns), len(text.split()))

    async def close(self) -> None:
        """Nothing is open."""
