"""Whatever Redis does costs the cache, and never a request."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio

from app.application import create_app, lifespan
from app.cache import store
from app.core.config import Settings
from app.core.settings.unusable import UnusableSetting
from tests.committed.caching import CountingProvider, ask, keep_answers, states
from tests.committed.conftest import Serve
from tests.committed.server import free_port
from tests.helpers import Tenant
from tests.redis_server import RedisServer, needs_redis, recorded
from tests.waiting import PATIENCE_SECONDS, until, within_patience

Break = Callable[[RedisServer, Any], Awaitable[None]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events that the cache logs of Redis."""
    return recorded(monkeypatch, store)


async def kill(server: RedisServer, _: Any) -> None:
    server.kill()


async def hang(server: RedisServer, _: Any) -> None:
    """Connections are accepted, and nothing is answered: as behind a black hole."""
    server.send(signal.SIGSTOP)


async def fill(_: RedisServer, direct: Any) -> None:
    await direct.config_set("maxmemory-policy", "noeviction")
    await direct.config_set("maxmemory", "1")


async def become_read_only(_: RedisServer, direct: Any) -> None:
    await direct.replicaof("127.0.0.1", free_port())


async def lock_out(_: RedisServer, direct: Any) -> None:
    await direct.config_set("requirepass", "another")
    await direct.client_kill_filter(_type="normal", skipme=True)


@asynccontextmanager
async def used(
    server: RedisServer, serve: Serve, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """A service that has answered from the cache, and looks for Redis often."""
    monkeypatch.setattr(store, "RETRY_SECONDS", 0.02)
    async with serve(CountingProvider(), redis_url=server.url) as (app, client):
        monkeypatch.setattr(store, "TIMEOUT_SECONDS", 0.05)
        await keep_answers(client, tenant)
        await states(client, tenant.user, "Hello")
        await until(lambda: is_hit(client, tenant), "a hit")
        yield app, client


async def is_hit(client: httpx.AsyncClient, tenant: Tenant) -> bool:
    return await states(client, tenant.user, "Hello") == ["hit"]


@needs_redis
@pytest.mark.parametrize("breaks", [kill, hang, fill, become_read_only, lock_out])
async def test_an_outage_amid_traffic_fails_nobody_and_the_cache_comes_back(
    server: RedisServer, serve: Serve, acme: Tenant, monkeypatch: pytest.MonkeyPatch, log: list[str], breaks: Break
) -> None:
    async with (
        used(server, serve, acme, monkeypatch) as (app, client),
        redis.asyncio.Redis.from_url(server.url, single_connection_client=True) as direct,
    ):
        sent = 0

        async def keep_asking(number: int) -> None:
            nonlocal sent
            for turn in range(8):
                # Some that were kept, some that are new: both reads and writes meet the outage.
                await ask(client, acme.user, "Hello" if turn % 2 else f"{number} {turn}")
                sent += 1
                if sent == 20:
                    await breaks(server, direct)

        await within_patience(asyncio.gather(*map(keep_asking, range(8))), "the answers")
        await until(lambda: "cache_away" in log, "the outage to be noticed")
        assert sent == 64
        cache = app.state.container.shared.cache
        assert await states(client, acme.user, "Hello", "never asked before") == ["bypass", "bypass"]
        assert await ready(client) == "away"

        monkeypatch.setattr(store, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        await mend(breaks, server, direct)
        await until(lambda: cache.store.available, "Redis to be found again")
        assert await ready(client) == "redis"
        await until(lambda: is_hit(client, acme), "a hit")


async def ready(client: httpx.AsyncClient) -> str:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    return str(answer.json()["cache"])


async def mend(breaks: Break, server: RedisServer, direct: Any) -> None:
    if breaks is kill:
        server.start()
    elif breaks is hang:
        server.send(signal.SIGCONT)
    elif breaks is fill:
        await direct.config_set("maxmemory", "0")
    elif breaks is become_read_only:
        await direct.replicaof("NO", "ONE")
    else:
        await direct.config_set("requirepass", "")


@needs_redis
async def test_one_that_was_emptied_or_started_anew_costs_what_was_kept(
    server: RedisServer, serve: Serve, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        used(server, serve, acme, monkeypatch) as (_, client),
        redis.asyncio.Redis.from_url(server.url) as direct,
    ):
        monkeypatch.setattr(store, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        await direct.flushall()
        await direct.script_flush()
        assert await states(client, acme.user, "Hello") == ["miss"]
        await until(lambda: is_hit(client, acme), "a hit")
        server.kill()
        server.start()
        # The connections that were idle are dead: that is no outage.
        assert await states(client, acme.user, "Hello") == ["miss"]
        await until(lambda: is_hit(client, acme), "a hit")


@needs_redis
async def test_erasing_a_tenant_erases_what_is_kept_of_it(
    server: RedisServer, serve: Serve, acme: Tenant, rival: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PURGED_AT_ONCE", 1)
    async with (
        serve(CountingProvider(), redis_url=server.url) as (_, client),
        redis.asyncio.Redis.from_url(server.url) as direct,
    ):
        for tenant in (acme, rival):
            await keep_answers(client, tenant)
            await states(client, tenant.user, "one", "two", "three")
            await until(lambda of=tenant: three_of(direct, of), "three to be kept")
        query = {"name": acme.name}
        erased = await client.delete(f"/tenants/{acme.id}", params=query, headers=acme.admin.headers)
        assert erased.status_code == 204
        assert await direct.keys(f"*{acme.id}*") == []
        assert await three_of(direct, rival)


async def three_of(direct: Any, tenant: Tenant) -> bool:
    return len([name for name in await direct.keys(f"*{tenant.id}*") if not name.endswith(b":lock")]) == 3


@needs_redis
async def test_an_erasure_does_not_wait_for_a_redis_that_is_away(
    server: RedisServer, serve: Serve, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with used(server, serve, acme, monkeypatch) as (_, client):
        server.send(signal.SIGSTOP)
        query = {"name": acme.name}
        erased = await client.delete(f"/tenants/{acme.id}", params=query, headers=acme.admin.headers)
        assert erased.status_code == 204


@needs_redis
@pytest.mark.parametrize("limited", [False, True])
async def test_a_wrong_password_is_refused_at_the_start(server: RedisServer, settings: Settings, limited: bool) -> None:
    server.kill()
    server.start("--requirepass", "the right one")
    for password in (":a-wrong-one@", ""):
        url = server.url.replace("//", f"//{password}")
        app = create_app(settings.model_copy(update={"redis_url": url, "rate_limit_enabled": limited}))
        with pytest.raises(UnusableSetting, match="REDIS_URL") as refusal:
            async with lifespan(app):
                pass
        assert "wrong-one" not in str(refusal.value)


async def test_a_redis_that_is_not_there_at_the_start_costs_the_cache_alone(serve: Serve, acme: Tenant) -> None:
    async with serve(CountingProvider(), redis_url=f"redis://127.0.0.1:{free_port()}/0") as (_, client):
        await keep_answers(client, acme)
        assert await states(client, acme.user, "Hello", "Hello") == ["bypass", "bypass"]
