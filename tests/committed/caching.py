"""A tenant that keeps answers, and a provider that counts who asks."""

import asyncio
from typing import Any

import httpx

from app.core.completion import Completion, FinishReason
from app.core.errors import ProviderUnavailable
from app.llm.base import Call, event_of
from tests.helpers import Member, Tenant
from tests.waiting import patience


class CountingProvider:
    """Answers with the number of the call, as `finish_reason` and `error` say; once `released`, if it is held."""

    name = "counting"
    models = ("counting-1",)

    def __init__(self, *, held: bool = False) -> None:
        self.calls = 0
        self.finish_reason: FinishReason | None = FinishReason.STOP
        self.error: Exception | None = None
        self.failures = 0
        """So many of the first calls fail with a refusal."""
        self.length = 0
        self.released = asyncio.Event()
        if not held:
            self.released.set()
        self._called = asyncio.Condition()

    async def complete(self, call: Call) -> Completion:
        async with self._called:
            self.calls += 1
            self._called.notify_all()
        number = self.calls
        text = f"answer {number} to {call.items[-1].content}".ljust(self.length)
        await self.released.wait()
        if number <= self.failures:
            raise ProviderUnavailable
        if self.error is not None:
            raise self.error
        if call.on_event is not None:
            call.on_event(event_of(text))
        return Completion(text, "counting-1", 3, 5, finish_reason=self.finish_reason)

    async def wait_for_calls(self, count: int) -> None:
        async with patience(f"{count} calls of the provider"), self._called:
            await self._called.wait_for(lambda: self.calls >= count)

    async def close(self) -> None: ...


async def keep_answers(client: httpx.AsyncClient, tenant: Tenant, seconds: int | None = 3600) -> None:
    body = {"cache_ttl_seconds": seconds}
    answer = await client.patch(f"/tenants/{tenant.id}", json=body, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text


async def ask(
    client: httpx.AsyncClient, member: Member, content: str = "Hello", control: str | None = None, **body: Any
) -> httpx.Response:
    headers = member.headers if control is None else {**member.headers, "Cache-Control": control}
    answer = await client.post("/messages", json={"content": content, **body}, headers=headers)
    assert answer.status_code in (200, 201, 202), answer.text
    return answer


async def states(client: httpx.AsyncClient, member: Member, *contents: str, **body: Any) -> list[str]:
    return [(await ask(client, member, content, **body)).headers["x-cache"] for content in contents]
