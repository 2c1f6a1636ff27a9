"""Equal prompts at the same time: one call of the provider, in one process and in several."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio
from fastapi import FastAPI

from app.cache import flights, store
from app.cache.cache import ResponseCache
from app.cache.flights import Flights
from app.core.completion import FinishReason
from app.core.settings.llm import Price
from tests.committed.caching import CountingProvider, keep_answers, states
from tests.committed.conftest import Serve, rows_of
from tests.committed.sse import events_of, rest, text_of
from tests.helpers import Tenant
from tests.redis_server import RedisServer, needs_redis
from tests.waiting import until

pytestmark = needs_redis
Processes = list[tuple[FastAPI, httpx.AsyncClient]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _locks_end_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given back holds a test up."""
    monkeypatch.setattr(store, "LOCK_SECONDS", 3600)
    monkeypatch.setattr(flights, "LOCK_SECONDS", 3600)


@asynccontextmanager
async def processes(
    serve: Serve, server: RedisServer, provider: CountingProvider, tenant: Tenant, count: int = 2
) -> AsyncIterator[Processes]:
    """Of one installation; each knows that the tenant keeps answers."""
    prices = {"counting-1": Price(input=1_000_000, output=1_000_000)}
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(serve(provider, redis_url=server.url, llm_prices=prices))
            for _ in range(count)
        ]
        await keep_answers(started[0][1], tenant)
        held, provider.released = provider.released, asyncio.Event()
        provider.released.set()
        for number, (_, client) in enumerate(started):
            await states(client, tenant.user, f"to learn {number}")
        provider.calls, provider.released = 0, held
        yield started


def send(client: httpx.AsyncClient, tenant: Tenant, content: str = "Hello", **body: Any) -> asyncio.Task[Any]:
    request = client.post("/messages", json={"content": content, **body}, headers=tenant.user.headers)
    return asyncio.create_task(request)  # type: ignore[arg-type]


async def all_run(started: Processes, count: int) -> None:
    await until(lambda: sum(app.state.container.engine.running for app, _ in started) == count, f"{count} to run")


def cache_of(app: FastAPI) -> ResponseCache:
    cache: ResponseCache = app.state.container.shared.cache
    return cache


async def test_one_process_asks_for_all(
    server: RedisServer, serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme, 3) as started:
        requests = [send(client, acme) for _ in range(10) for _, client in started]
        await all_run(started, 30)
        provider.released.set()
        answers = await asyncio.gather(*requests)
    assert provider.calls == 1
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["response"] for answer in answers}) == 1
    assert sorted(answer.headers["x-cache"] for answer in answers) == ["hit"] * 29 + ["miss"]
    rows = [row for row in await rows_of(superuser, acme) if row["content"] == "Hello"]
    assert sorted(row["cached"] for row in rows) == [False] + [True] * 29
    assert sum(row["input_tokens"] for row in rows) == 3


async def test_a_stream_that_waits_says_that_nothing_was_found_and_then_gets_the_answer(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme) as started:
        first = send(started[0][1], acme)
        await provider.wait_for_calls(1)
        second = send(started[1][1], acme, stream=True)
        await all_run(started, 2)
        provider.released.set()
        answer, stream = await first, await second
        events = await rest(events_of(stream))
    assert stream.headers["x-cache"] == "miss"
    assert text_of(events) == answer.json()["response"]
    assert (events[-1].name, events[-1].data["cached"], events[-1].data["cost_micro_usd"]) == ("completed", True, 0)
    assert provider.calls == 1


async def test_a_failure_is_nobody_elses_and_one_who_waits_asks_next(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme) as started:
        provider.failures = 2
        requests = [send(client, acme) for _ in range(5) for _, client in started]
        await all_run(started, 10)
        provider.released.set()
        answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [201] * 8 + [503] * 2
    assert provider.calls == 3


async def test_what_is_not_kept_sends_all_to_ask_for_themselves(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme) as started:
        provider.finish_reason = FinishReason.LENGTH
        requests = [send(client, acme) for _ in range(5) for _, client in started]
        await all_run(started, 10)
        first, provider.released = provider.released, asyncio.Event()
        first.set()
        await provider.wait_for_calls(10)  # at once, and not one after the other
        provider.released.set()
        answers = await asyncio.gather(*requests)
    assert [answer.json()["cached"] for answer in answers] == [False] * 10
    assert provider.calls == 10


async def test_who_asks_may_be_cancelled_and_who_waits_pays_nothing_for_it(
    server: RedisServer, serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme) as started:
        (_, one), (_, other) = started
        asking = send(one, acme)
        await provider.wait_for_calls(1)
        waiting = [send(one, acme), send(other, acme), send(other, acme)]
        await all_run(started, 4)
        rows = {row["id"]: row for row in await rows_of(superuser, acme) if row["status"] == "pending"}
        first, second, *_ = sorted(rows)
        # One of those who wait first, then the one who asks.
        await cancel(one, acme, second)
        await cancel(one, acme, first)
        await asking
        await provider.wait_for_calls(2)
        provider.released.set()
        answers = await asyncio.gather(*waiting)
    ended = {row["id"]: row for row in await rows_of(superuser, acme)}
    assert [ended[name]["status"] for name in (first, second)] == ["cancelled", "cancelled"]
    assert ended[first]["cost_micro_usd"] == ended[first]["claim_micro_usd"] > 0
    assert ended[second]["cost_micro_usd"] is None
    assert sorted(answer.json()["cached"] for answer in answers if answer.status_code == 201) == [False, False, True]
    assert provider.calls == 2


async def cancel(client: httpx.AsyncClient, tenant: Tenant, message_id: str) -> None:
    answer = await client.post(f"/messages/{message_id}/cancel", headers=tenant.user.headers)
    assert answer.status_code == 200, answer.text


async def test_who_asks_shows_that_it_lives_and_another_takes_over_when_it_does_not(
    server: RedisServer, serve: Serve, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 1.5)
    monkeypatch.setattr(flights, "LOCK_SECONDS", 1.5)
    monkeypatch.setattr(flights, "LOOK_SECONDS", 0.02)
    provider = CountingProvider(held=True)
    async with (
        processes(serve, server, provider, acme) as started,
        redis.asyncio.Redis.from_url(server.url) as direct,
    ):
        (_, one), (_, other) = started
        requests = [send(one, acme)]
        await provider.wait_for_calls(1)
        (lock,) = await direct.keys(f"*{acme.id}*:lock")
        await until(partial(lives_longer, direct, lock, [await direct.pttl(lock)]), "the lock to be renewed")
        requests.append(send(other, acme))
        await all_run(started, 2)
        assert provider.calls == 1
        # As a process that was killed leaves it.
        monkeypatch.setattr(Flights, "_renew", lambda *_: asyncio.sleep(0))
        await direct.pexpire(lock, 1)
        await provider.wait_for_calls(2)
        provider.released.set()
        assert [(await request).status_code for request in requests] == [201, 201]
    assert provider.calls == 2


async def lives_longer(direct: Any, lock: bytes, seen: list[int]) -> bool:
    """Than it did at the last look."""
    seen.append(await direct.pttl(lock))
    return seen[-1] > seen[-2]


async def test_nobody_waits_for_ever(server: RedisServer, serve: Serve, acme: Tenant) -> None:
    provider = CountingProvider(held=True)
    async with processes(serve, server, provider, acme) as started:
        for app, _ in started:
            cache_of(app)._flights._wait_seconds = 0.05
        requests = [send(client, acme) for _ in range(2) for _, client in started]
        await provider.wait_for_calls(4)
        provider.released.set()
        assert [(await request).status_code for request in requests] == [201] * 4


async def test_without_redis_a_process_still_asks_once(serve: Serve, acme: Tenant, tmp_path_factory: Any) -> None:
    own = RedisServer(tmp_path_factory.mktemp("redis"))
    own.start()
    provider = CountingProvider(held=True)
    async with processes(serve, own, provider, acme, 1) as started:
        own.kill()
        await states_of_nothing(started[0][1], acme, provider)
        requests = [send(started[0][1], acme) for _ in range(5)]
        await all_run(started, 5)
        provider.released.set()
        answers = [await request for request in requests]
    assert sorted(answer.json()["cached"] for answer in answers) == [False] + [True] * 4
    assert {answer.headers["x-cache"] for answer in answers} == {"bypass"}


async def states_of_nothing(client: httpx.AsyncClient, tenant: Tenant, provider: CountingProvider) -> None:
    """Let the process notice that Redis is away."""
    held, provider.released = provider.released, asyncio.Event()
    provider.released.set()
    await states(client, tenant.user, "to notice")
    provider.released = held
