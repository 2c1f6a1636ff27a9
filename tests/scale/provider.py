"""A provider that repeats the prompt after a moment, and counts how often it was asked for each."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.llm.loopback import Answer, completion, loopback
from tests.llm.wire import openai_chunks

LATENCY_SECONDS = (0.05, 0.4)
PIECES = 4


class Counting:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.settings: dict[str, str] = {}

    async def handle(self, body: dict[str, Any]) -> Answer:
        prompt = str(body["messages"][-1]["content"])
        self.asked[prompt] += 1
        seconds = random.uniform(*LATENCY_SECONDS)
        if body.get("stream"):
            return 200, {"content-type": "text/event-stream"}, self._stream(prompt, seconds)
        await asyncio.sleep(seconds)
        return completion(prompt)

    async def _stream(self, prompt: str, seconds: float) -> AsyncIterator[bytes]:
        size = len(prompt) // PIECES + 1
        for chunk in openai_chunks([prompt[at : at + size] for at in range(0, len(prompt), size)]):
            yield chunk
            await asyncio.sleep(seconds / PIECES)


@asynccontextmanager
async def counting() -> AsyncIterator[Counting]:
    """`settings` of a service make it ask this one."""
    provider = Counting()
    async with loopback(provider.handle) as server:
        provider.settings = {
            "llm_provider": "openai",
            "openai_api_key": "any",
            "openai_base_url": server.base_url,
            "llm_model": "tiny",
            "llm_prices": '{"tiny": {"input": 1, "output": 1}, "tiny-1": {"input": 1, "output": 1}}',
        }
        yield provider
