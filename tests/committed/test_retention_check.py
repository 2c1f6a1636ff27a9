"""`verify-retention` finds no word of a tenant that keeps nothing, and finds those of one that keeps them."""

import argparse
import re
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.application import create_app
from app.cli import verify_retention
from app.core.config import Settings
from app.core.security import PasswordHasher
from app.db.session import Database
from app.residency.places import OnePlace
from app.services.canaries import DOCUMENT, WAYS
from app.services.retention_check import ServiceNotUsable, TracesFound, check_retention
from tests.committed.server import ServerProcess, free_port, running
from tests.conftest import own_database
from tests.redis_server import RedisServer, needs_redis

database_url, settings, superuser = own_database()


@pytest.fixture(scope="module")
def url(database_url: URL) -> str:
    return database_url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(
    url: str, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    """With all that it may use: limits and answers that are kept in Redis, and documents."""
    directory = tmp_path_factory.mktemp("service")
    async with running(directory, database_url=url, redis_url=redis.url, rate_limit_enabled="true") as server:
        yield server


@needs_redis
async def test_nothing_is_left_of_what_is_said_by_every_way(
    server: ServerProcess, settings: Settings, redis: RedisServer, superuser: asyncpg.Connection
) -> None:
    arguments = argparse.Namespace(url=f"http://127.0.0.1:{server.port}", log=[str(server.log)])
    report = await verify_retention(arguments, settings.model_copy(update={"redis_url": redis.url}))
    assert f"{len(WAYS) + 1} ways, and no word" in report
    assert "POST /documents: 202" in report
    assert "POST /search: 200" in report
    assert "POST /messages with documents: 422" in report
    assert re.search(r"looked at: [1-9]\d* keys of Redis", report)
    assert "NOT" not in report
    for looked in ("tables, all rows", "what a document says", "pages of", "files of the log of changes", "log "):
        assert re.search(f"looked at: .*{looked}", report)
    assert await superuser.fetchval("SELECT count(*) FROM tenants") == 0


@needs_redis
async def test_what_is_kept_is_found_in_each_place(
    server: ServerProcess, url: str, redis: RedisServer, superuser: asyncpg.Connection
) -> None:
    database, passwords = Database(url, pool_size=1), PasswordHasher(4)
    try:
        with pytest.raises(TracesFound) as found:
            await check_retention(
                f"http://127.0.0.1:{server.port}",
                OnePlace(database, None),
                {"": url},
                passwords,
                redis_url=redis.url,
                days=30,
            )
    finally:
        passwords.close()
        await database.close()
    report = str(found.value)
    for place in ("table public.messages", "table public.message_contents", "pages of messages", "log of changes"):
        assert f"FOUND in {place}" in report
    for way in (
        "POST /messages, streamed",
        "POST /v1/responses",
        "POST /conversations",
        "POST /messages with documents",
    ):
        assert f": {way}" in report.partition("FOUND")[2]
    assert "FOUND in Redis" not in report, "answers that are kept are sealed there"
    assert "FOUND in table public.messages: POST /documents" in report, "what was cited"
    assert await superuser.fetchval("SELECT count(*) FROM tenants") == 0


async def test_a_service_that_is_not_there_is_said_to_be(settings: Settings) -> None:
    arguments = argparse.Namespace(url=f"http://127.0.0.1:{free_port()}", log=[])
    with pytest.raises(ServiceNotUsable):
        await verify_retention(arguments, settings)


def test_every_way_by_which_text_comes_in_is_tried(settings: Settings) -> None:
    """A new one has to be added to the ways, or to those that bring no text of messages."""
    others = {
        "/admin/invites", "/admin/users", "/api-keys", "/create-tenant", "/login", "/logout", "/refresh",
        "/register", "/token",
    }  # fmt: skip
    paths = create_app(settings).openapi()["paths"]
    with_body = {path for path, verbs in paths.items() if "requestBody" in verbs.get("post", {})}
    assert {path for path in with_body if "{" not in path} - others == {way.path for way in (DOCUMENT, *WAYS)}
