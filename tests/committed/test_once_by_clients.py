"""What is sent many times at once under one idempotency key, by the clients of others that try again by themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import asyncpg
import httpx
import openai
import pytest

from app.core.settings.llm import Price
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.helpers import Member, make_tenant
from tests.waiting import PATIENCE_SECONDS, until

SENDS, SOCKETS = 300, 20
# While the first is answered each of the others is told to come again in a second, however long that takes.
OFTEN = 1000
HELLO: Any = [{"role": "user", "content": "Hello"}]
ONCE = {"Idempotency-Key": "of-them-all"}
PRICES = {"held-1": Price(input=1_000_000, output=1_000_000)}
Hooked = Callable[[Any], Awaitable[None]]


def by_openai(client: httpx.AsyncClient, member: Member, hear: Hooked) -> Any:
    http = openai.DefaultAsyncHttpxClient(
        event_hooks={"response": [hear]}, limits=limits(openai.DEFAULT_CONNECTION_LIMITS)
    )
    options: Any = {"timeout": PATIENCE_SECONDS, "max_retries": OFTEN, "http_client": http}
    sdk = openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=member.token, **options)
    return sdk, lambda: sdk.chat.completions.create(model="held-1", messages=HELLO, extra_headers=ONCE)


def by_anthropic(client: httpx.AsyncClient, member: Member, hear: Hooked) -> Any:
    http = anthropic.DefaultAsyncHttpxClient(
        event_hooks={"response": [hear]}, limits=limits(anthropic.DEFAULT_CONNECTION_LIMITS)
    )
    options: Any = {"timeout": PATIENCE_SECONDS, "max_retries": OFTEN, "http_client": http}
    sdk = anthropic.AsyncAnthropic(base_url=str(client.base_url), api_key=member.token, **options)
    return sdk, lambda: sdk.messages.create(model="held-1", max_tokens=50, messages=HELLO, extra_headers=ONCE)


def limits(usual: Any) -> Any:
    """Those of the client's own library, which is not ours."""
    return type(usual)(max_connections=SOCKETS)


@pytest.mark.parametrize("sdk_of", [by_openai, by_anthropic])
async def test_three_hundred_sends_under_one_key_are_one_call_and_one_answer(
    listen: Serve, superuser: asyncpg.Connection, sdk_of: Callable[..., Any]
) -> None:
    """All but one are refused while it is answered; whoever comes again after that reads its answer."""
    provider, seen = HeldProvider(), []

    async def hear(response: Any) -> None:
        seen.append(response.status_code)

    async with listen(provider, llm_prices=PRICES) as (_, http):
        acme = await make_tenant(http)
        sdk, send = sdk_of(http, acme.user, hear)
        async with sdk:
            sending = [asyncio.create_task(send()) for _ in range(SENDS)]
            await until(lambda: len(seen) >= SENDS - 1, "all the others to be refused")
            assert set(seen) == {409}
            provider.release.set()
            answers = await asyncio.gather(*sending)
        (used,) = (await http.get("/usage", headers=acme.admin.headers)).json()
    assert provider.calls == 1
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert set(seen) == {200, 409}
    assert seen.count(200) == SENDS
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], used["messages"], used["cost_micro_usd"]) == ("completed", 1, row["cost_micro_usd"])
