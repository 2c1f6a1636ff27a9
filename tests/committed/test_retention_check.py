"""`verify-retention` finds no word of a tenant that keeps nothing, and finds those of one that keeps them."""

import argparse
from collections.abc import AsyncIterator
from pathlib import Path

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
from app.services.canaries import WAYS
from app.services.retention_check import ServiceNotUsable, TracesFound, check_retention
from tests.committed.server import ServerProcess, free_port, running
from tests.conftest import own_database

database_url, settings, superuser = own_database()


@pytest.fixture
def url(database_url: URL) -> str:
    return database_url.render_as_string(hide_password=False)


@pytest_asyncio.fixture
async def server(url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with running(tmp_path, database_url=url) as server:
        yield server


async def test_nothing_is_left_of_what_is_said_by_every_way(
    server: ServerProcess, settings: Settings, superuser: asyncpg.Connection
) -> None:
    arguments = argparse.Namespace(url=f"http://127.0.0.1:{server.port}", log=[str(server.log)])
    report = await verify_retention(arguments, settings)
    assert f"{len(WAYS)} ways, and no word" in report
    for looked in ("tables, all rows", "pages of", "files of the log of changes", f"log {server.log}"):
        assert f"looked at: {looked}" in report or looked in report
    assert await superuser.fetchval("SELECT count(*) FROM tenants") == 0


async def test_what_is_kept_is_found_in_each_place(
    server: ServerProcess, url: str, superuser: asyncpg.Connection
) -> None:
    database, passwords = Database(url, pool_size=1), PasswordHasher(4)
    try:
        with pytest.raises(TracesFound) as found:
            await check_retention(
                f"http://127.0.0.1:{server.port}", OnePlace(database, None), {"": url}, passwords, days=30
            )
    finally:
        passwords.close()
        await database.close()
    report = str(found.value)
    for place in ("table public.messages", "table public.message_contents", "pages of messages", "log of changes"):
        assert f"FOUND in {place}" in report
    for way in ("POST /messages, streamed", "POST /v1/responses", "POST /conversations"):
        assert f": {way}" in report.partition("FOUND")[2]
    assert await superuser.fetchval("SELECT count(*) FROM tenants") == 0


async def test_a_service_that_is_not_there_is_said_to_be(settings: Settings) -> None:
    arguments = argparse.Namespace(url=f"http://127.0.0.1:{free_port()}", log=[])
    with pytest.raises(ServiceNotUsable):
        await verify_retention(arguments, settings)


def test_every_way_by_which_text_comes_in_is_tried(settings: Settings) -> None:
    """A new one has to be added to the ways, or to those that bring no text of messages."""
    others = {
        "/admin/invites", "/admin/users", "/api-keys", "/create-tenant", "/documents", "/login", "/logout", "/refresh",
        "/register", "/token",
    }  # fmt: skip
    paths = create_app(settings).openapi()["paths"]
    with_body = {path for path, verbs in paths.items() if "requestBody" in verbs.get("post", {})}
    assert {path for path in with_body if "{" not in path} - others == {way.path for way in WAYS}
