"""What workers answer is kept, and shared, as the request that was queued allows it."""

from collections.abc import Iterator

import httpx
import pytest

from app.application import lifespan
from app.core.config import Settings
from app.worker import create_worker
from tests.committed.caching import CountingProvider, ask, keep_answers
from tests.committed.conftest import Serve
from tests.conftest import own_database
from tests.helpers import Tenant, make_tenant
from tests.llm.service import service_of
from tests.redis_server import RedisServer, needs_redis
from tests.waiting import until

pytestmark = needs_redis
database_url, settings, superuser = own_database()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


async def queue(client: httpx.AsyncClient, tenant: Tenant, content: str, control: str | None = None) -> bool:
    """Whether its answer, once there is one, had been kept."""
    answer = await ask(client, tenant.user, content, control, background=True)

    async def ended() -> dict[str, bool] | None:
        shown = (await client.get(answer.headers["location"], headers=tenant.user.headers)).json()
        return shown if shown["status"] == "completed" else None

    return bool((await until(ended, "the message to be answered"))["cached"])


async def test_a_worker_keeps_and_shares_answers(server: RedisServer, serve: Serve, settings: Settings) -> None:
    provider = CountingProvider()
    shared = {"redis_url": server.url, "message_workers": True}
    worker = create_worker(settings.model_copy(update={"db_pool_size": 2, **shared}))
    async with serve(provider, **shared) as (_, client), lifespan(worker):
        bounds = settings.llm_prices, settings.llm_max_output_tokens
        worker.state.container.engine.llm = service_of(provider, *bounds)
        tenant = await make_tenant(client)
        await keep_answers(client, tenant)
        # The process that queues them does not know yet that the tenant keeps answers.
        assert not await queue(client, tenant, "Hello")
        room = (await client.post("/conversations", json={}, headers=tenant.user.headers)).json()["id"]
        await until(lambda: is_hit(client, tenant, "Hello"), "the answer to be kept")
        assert provider.calls == 1
        # Looked up by the worker: of a conversation nobody knows the turns before.
        body = {"content": "Hello", "conversation_id": room, "background": True}
        answer = await client.post("/messages", json=body, headers=tenant.user.headers)
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        await until(lambda: was_cached(client, tenant, answer), "the worker to find it")
        assert not await queue(client, tenant, "Hello", "no-cache")
        assert not await queue(client, tenant, "Hello", "no-store")
        assert not await queue(client, tenant, "Secret", "no-store")
        assert provider.calls == 4
        assert not await is_hit(client, tenant, "Secret")


async def is_hit(client: httpx.AsyncClient, tenant: Tenant, content: str) -> bool:
    return (await ask(client, tenant.user, content)).headers["x-cache"] == "hit"


async def was_cached(client: httpx.AsyncClient, tenant: Tenant, answer: httpx.Response) -> bool:
    shown = await client.get(answer.headers["location"], headers=tenant.user.headers)
    return bool(shown.json()["cached"])
