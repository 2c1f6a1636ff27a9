"""Rate limits in a real Redis: shared, and never a reason for a request to fail."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio
from fastapi import FastAPI
from sqlalchemy import URL

from app.application import create_app, lifespan
from app.core.config import Settings
from app.core.ids import new_id
from app.core.rate_limits import shared
from app.core.rate_limits.shared import SharedCounters
from tests.committed.server import free_port, running
from tests.conftest import client_of
from tests.helpers import PASSWORD, Tenant
from tests.redis_server import RedisServer, needs_redis, recorded
from tests.waiting import PATIENCE_SECONDS, within_patience


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events that the counters log."""
    return recorded(monkeypatch, shared)


@pytest.fixture
def serve(settings: Settings) -> Any:
    @contextlib.asynccontextmanager
    async def start(url: str, **changes: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        limits = {"rate_limit_enabled": True, "redis_url": url, "db_pool_size": 2, **changes}
        app = create_app(settings.model_copy(update=limits))
        async with lifespan(app), client_of(app) as client:
            yield app, client

    return start


def counters_of(app: FastAPI) -> SharedCounters:
    counters: SharedCounters = app.state.container.shared.limits._shared
    return counters


async def store(client: httpx.AsyncClient) -> str:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    name: str = answer.json()["rate_limits"]
    return name


async def me(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    return await client.get("/me", headers=tenant.user.headers)


@needs_redis
async def test_two_processes_share_one_limit(server: RedisServer, serve: Any, acme: Tenant, rival: Tenant) -> None:
    few = {"rate_limit_user": "20/hour", "rate_limit_tenant": "30/hour"}
    async with serve(server.url, **few) as (_, one), serve(server.url, **few) as (_, other):
        answers = await asyncio.gather(*(me(client, acme) for _ in range(25) for client in (one, other)))
        untouched = await me(one, rival)
        assert await store(one) == "redis"

    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 30
    left = {int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0]) for answer in answers}
    assert left == set(range(20))
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"user";q=20;w=3600'
        assert 1 <= int(answer.headers["ratelimit"].partition("t=")[2]) <= 3600
    assert untouched.headers["ratelimit"].startswith('"user";r=19;')


@needs_redis
async def test_right_logins_are_given_back(server: RedisServer, serve: Any, acme: Tenant) -> None:
    async def log_in(client: httpx.AsyncClient, password: str) -> int:
        body = {"email": acme.user.email, "password": password}
        return (await client.post("/login", json=body)).status_code

    few = {"rate_limit_login": "2/hour"}
    async with serve(server.url, **few) as (_, one), serve(server.url, **few) as (_, other):
        right = [await log_in(client, PASSWORD) for _ in range(3) for client in (one, other)]
        wrong = [await log_in(client, "wrong") for client in (one, other, one)]
        assert await store(one) == "redis"
    assert right == [200] * 6
    assert wrong == [401, 401, 429]


@needs_redis
async def test_what_a_user_is_refused_is_not_the_tenants(server: RedisServer, serve: Any, acme: Tenant) -> None:
    async with serve(server.url, rate_limit_user="2/hour", rate_limit_tenant="4/hour") as (_, client):
        loud = await asyncio.gather(*(me(client, acme) for _ in range(20)))
        quiet = [await client.get("/me", headers=acme.admin.headers) for _ in range(3)]
    assert sorted(answer.status_code for answer in loud) == [200] * 2 + [429] * 18
    assert [answer.status_code for answer in quiet] == [200, 200, 429]


@needs_redis
async def test_a_counter_ends_with_its_window(server: RedisServer, serve: Any, acme: Tenant) -> None:
    async with serve(server.url) as (_, client), redis.asyncio.Redis.from_url(server.url) as direct:
        await me(client, acme)
        keys = [key for key in await direct.keys() if b"nobody" not in key]
        assert sorted(key.decode().split("/")[1] for key in keys) == ["tenant", "user"]
        assert [0 < await direct.pttl(key) <= 60_000 for key in keys] == [True, True]
        for key in keys:  # one that would never end is given an end
            await direct.persist(key)
        await me(client, acme)
        assert [0 < await direct.pttl(key) <= 60_000 for key in keys] == [True, True]


@needs_redis
async def test_an_email_is_not_to_be_read_in_redis(server: RedisServer, serve: Any, acme: Tenant) -> None:
    async with serve(server.url) as (_, client), redis.asyncio.Redis.from_url(server.url) as direct:
        await client.post("/login", json={"email": acme.user.email, "password": "wrong"})
        keys = b" ".join(await direct.keys())
    assert b"login" in keys
    assert b"@" not in keys
    assert acme.user.email.partition("@")[0].encode() not in keys


@needs_redis
async def test_a_redis_that_is_killed_amid_traffic_fails_nobody_and_is_used_again_when_it_is_back(
    server: RedisServer, serve: Any, acme: Tenant, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "RETRY_SECONDS", 0.02)
    async with serve(server.url, rate_limit_user="250/hour") as (app, client):
        assert await store(client) == "redis"
        statuses: list[int] = []

        async def keep_asking() -> None:
            for _ in range(20):
                statuses.append((await me(client, acme)).status_code)
                if len(statuses) == 50:
                    server.kill()

        await asyncio.gather(*(keep_asking() for _ in range(10)))
        assert statuses == [200] * 200
        assert await store(client) == "memory"

        after = [(await me(client, acme)).status_code for _ in range(250)]
        assert after == sorted(after)
        assert 50 <= after.count(429) < 250  # the limit goes on, from what was counted here
        assert log == ["rate_limits_in_redis", "rate_limits_in_memory"]

        recovering = counters_of(app).presence.recovering
        assert recovering is not None
        server.start()
        await recovering
        assert await store(client) == "redis"
        answer = await me(client, acme)
        assert answer.headers["ratelimit"].startswith('"user";r=249;')
        assert log[2:] == ["rate_limits_in_redis"]


@needs_redis
async def test_a_redis_that_hangs_holds_nobody_up(
    server: RedisServer, serve: Any, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "RETRY_SECONDS", 0.02)
    async with serve(server.url) as (app, client):
        monkeypatch.setattr(shared, "TIMEOUT_SECONDS", 0.25)
        server.send(signal.SIGSTOP)
        answers = await within_patience(asyncio.gather(*(me(client, acme) for _ in range(50))), "the answers")
        assert [answer.status_code for answer in answers] == [200] * 50
        assert await store(client) == "memory"

        recovering = counters_of(app).presence.recovering
        assert recovering is not None
        monkeypatch.setattr(shared, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        server.send(signal.SIGCONT)
        await within_patience(recovering, "the counters to find Redis again")
        assert await store(client) == "redis"


@needs_redis
async def test_a_redis_that_answers_but_does_not_write_is_not_used(
    server: RedisServer, serve: Any, acme: Tenant, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    monkeypatch.setattr(shared, "RETRY_SECONDS", 0.02)
    async with serve(server.url) as (app, client), redis.asyncio.Redis.from_url(server.url) as direct:
        await direct.config_set("maxmemory", "1")  # refuses what needs memory, answers PING
        assert (await me(client, acme)).status_code == 200
        counters = counters_of(app)
        attempt = counters.presence.open

        async def noted() -> None:
            await attempt()
            tried.set()

        monkeypatch.setattr(counters.presence, "open", noted)
        await tried.wait()
        assert await store(client) == "memory"
        assert log == ["rate_limits_in_redis", "rate_limits_in_memory"]


@needs_redis
async def test_a_request_that_is_gone_does_not_disturb_the_others(
    server: RedisServer, serve: Any, acme: Tenant
) -> None:
    async with serve(server.url) as (_, client):
        requests = [asyncio.create_task(me(client, acme)) for _ in range(20)]
        await asyncio.sleep(0)
        for request in requests[::2]:
            request.cancel()
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 10
        assert await store(client) == "redis"


@needs_redis
async def test_the_connections_are_closed_at_shutdown(server: RedisServer, serve: Any, acme: Tenant) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as direct:
        async with serve(server.url) as (_, client):
            await me(client, acme)
            assert len(await direct.client_list()) == 3  # of the counters and of the cache, and this one
        assert len(await direct.client_list()) == 1


async def test_without_its_redis_the_service_starts_and_counts_in_memory(
    serve: Any, acme: Tenant, log: list[str]
) -> None:
    async with serve(f"redis://127.0.0.1:{free_port()}/0", rate_limit_user="1/hour") as (_, client):
        assert await store(client) == "memory"
        assert [(await me(client, acme)).status_code for _ in range(2)] == [200, 429]
    assert log == ["rate_limits_in_memory"]


async def test_the_server_itself_believes_no_header_from_loopback(database_url: URL, tmp_path: Path) -> None:
    settings = {"database_url": database_url.render_as_string(hide_password=False), "secret_key": new_id() * 2}
    limits = {"rate_limit_enabled": "true", "rate_limit_address": "2/hour"}
    async with running(tmp_path, **settings, **limits) as process, process.client() as client:
        headers = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(3)]
        statuses = [(await client.post("/login", headers=header)).status_code for header in headers]
    assert statuses == [422, 422, 429]
