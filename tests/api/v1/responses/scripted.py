"""A provider that says what a test has written, cut anywhere; and the OpenAI client of the service with it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from openai import AsyncOpenAI

from app.core.completion import Completion, FinishReason
from app.core.errors import ProviderError
from app.core.items import Item, Message, ToolCall
from app.llm.base import Call
from tests.api.v1.responses.pieces import deltas
from tests.helpers import Member
from tests.waiting import PATIENCE_SECONDS

Answer = Sequence[Item] | ProviderError


class Scripted:
    """Gives its answers in turn, the last for ever. `pauses`: after so many pieces it waits for `go_on`."""

    name = "scripted"
    models = ("small",)

    def __init__(self, *answers: Answer, reason: FinishReason | None = None, pauses: int = -1) -> None:
        self.calls: list[Call] = []
        self.go_on = asyncio.Event()
        self._answers, self._reason, self._pauses = answers, reason, pauses

    async def complete(self, call: Call) -> Completion:
        self.calls.append(call)
        answer = self._answers[min(len(self.calls), len(self._answers)) - 1]
        if isinstance(answer, ProviderError):
            raise answer
        for number, delta in enumerate(deltas(answer, random.Random(len(self.calls)))):
            if number == self._pauses:
                await self.go_on.wait()
            if call.on_event is not None:
                call.on_event(delta)
            await asyncio.sleep(0)
        calls = any(isinstance(item, ToolCall) for item in answer)
        reason = self._reason or (FinishReason.TOOL_CALLS if calls else FinishReason.STOP)
        text = "".join(item.text for item in answer if isinstance(item, Message))
        return Completion(text, "small", 11, 22, 3, reason, reasoning_tokens=4, items=tuple(answer))

    async def close(self) -> None: ...


@asynccontextmanager
async def openai(client: httpx.AsyncClient, member: Member) -> AsyncIterator[AsyncOpenAI]:
    """The SDK, as a caller who changed nothing but the base URL and the key."""
    url = f"{client.base_url}/v1".replace("//v1", "/v1")
    async with AsyncOpenAI(api_key=member.token, base_url=url, timeout=PATIENCE_SECONDS, max_retries=0) as sdk:
        yield sdk
