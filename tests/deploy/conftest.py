"""Three processes of the service, one database and one Redis behind nginx."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from tests.committed.held import HeldServer, held_server
from tests.committed.server import ServerProcess
from tests.conftest import SECRET_KEY, own_database
from tests.deploy.nginx import Nginx
from tests.helpers import Tenant, make_tenant
from tests.redis_server import RedisServer

database_url, settings, superuser = own_database()
MAX_BODY_BYTES = 200_000
REQUESTS_OF_A_USER = 40


@dataclass
class Fleet:
    """`through` speaks HTTP/1.1 to nginx; the processes ask `provider`."""

    nginx: Nginx
    processes: list[ServerProcess]
    provider: HeldServer
    through: httpx.AsyncClient

    def process(self, line: dict[str, Any]) -> int:
        """Which of the processes answered, by nginx's log line."""
        return [f"127.0.0.1:{process.port}" for process in self.processes].index(line["upstream"].split(", ")[-1])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    async with held_server() as provider:
        common = {
            "database_url": database_url.render_as_string(hide_password=False),
            "secret_key": SECRET_KEY,
            "redis_url": redis.url,
            "rate_limit_enabled": "true",
            "rate_limit_user": f"{REQUESTS_OF_A_USER}/hour",
            "rate_limit_address": "100000/hour",
            "trusted_proxies": "127.0.0.1/32",
            "max_body_bytes": str(MAX_BODY_BYTES),
            "db_pool_size": "3",
            **provider.settings,
        }
        processes = [ServerProcess(tmp_path_factory.mktemp("service"), **common) for _ in range(3)]
        nginx = Nginx(tmp_path_factory.mktemp("nginx"), [process.port for process in processes])
        nginx.edit("site/body.conf", r"1048576", str(MAX_BODY_BYTES))
        try:
            await asyncio.gather(nginx.start(), *(process.start() for process in processes))
            async with nginx.client() as through:
                yield Fleet(nginx, processes, provider, through)
        finally:
            nginx.stop()
            redis.kill()
            for process in processes:
                process.kill()


@pytest.fixture
def fleet(started: Fleet) -> Fleet:
    """Its provider holds back what it is asked until `release` is set."""
    started.provider.asked, started.provider.release = 0, asyncio.Event()
    return started


@pytest_asyncio.fixture
async def tenant(fleet: Fleet) -> Tenant:
    return await make_tenant(fleet.through)
