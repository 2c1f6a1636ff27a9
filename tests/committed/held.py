"""A provider over HTTP that a test holds in its hand, for services that are processes of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.llm.loopback import Answer, completion, loopback
from tests.llm.wire import openai_chunks

FIRST, REST = "What is said at once, ", "and what is held back"


class HeldServer:
    """Answers when it is released; of a stream it says `FIRST` before. `asked` counts the calls."""

    def __init__(self) -> None:
        self.asked = 0
        self.release = asyncio.Event()
        self.settings: dict[str, str] = {}

    async def handle(self, body: dict[str, Any]) -> Answer:
        self.asked += 1
        if body.get("stream"):
            return 200, {"content-type": "text/event-stream"}, self._stream()
        await self.release.wait()
        return completion(FIRST + REST)

    async def _stream(self) -> AsyncIterator[bytes]:
        first, *rest = openai_chunks([FIRST, REST])
        yield first
        await self.release.wait()
        for part in rest:
            yield part


@asynccontextmanager
async def held_server() -> AsyncIterator[HeldServer]:
    """`settings` of a service make it ask this one, and leave it all the time there is."""
    held = HeldServer()
    async with loopback(held.handle) as server:
        held.settings = {
            "llm_provider": "openai",
            "openai_api_key": "any",
            "openai_base_url": server.base_url,
            "llm_model": "tiny",
            "llm_prices": '{"tiny": {"input": 1, "output": 1}, "tiny-1": {"input": 1, "output": 1}}',
            "llm_timeout_seconds": "3600",
            "llm_token_timeout_seconds": "3600",
            "message_timeout_seconds": "7200",
        }
        yield held
