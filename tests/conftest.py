"""One PostgreSQL for the run, one migrated template, a database cloned from it for each worker.

A test makes its own tenants, so nothing is truncated and the order does not matter.
"""

import asyncio
import logging
import os
import secrets
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import certifi
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import URL, make_url

from app.application import create_app, lifespan
from app.cache import store
from app.core.config import Settings
from app.core.rate_limits import shared
from app.db import connection, gate, pool, rls, session
from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from app.db.roles import REVOKE_TEMPORARY
from app.documents.embedding.embedders import Embedders
from tests.documents.library import HashEmbedder
from tests.helpers import Tenant, make_tenant
from tests.pgbouncer import PgBouncer
from tests.waiting import PATIENCE_SECONDS

TEMPLATE = "template_llm_saas"
# Of each database: fewer than the pool of one process.
POOLER_SERVERS = 4
# Files that take longest: begun last, one of them would keep one worker busy while the others have nothing left.
LONGEST = (
    "api/test_contract.py", "committed/test_crash.py", "committed/test_upgrade_under_load.py",
    "committed/test_worker_processes.py", "committed/test_how_answers_end.py", "committed/test_leases.py",
    "residency/test_moving.py",
)  # fmt: skip
SECRET_KEY, MASTER_KEY = secrets.token_hex(32), secrets.token_hex(32)
# The tests are about the code, not about surviving a power cut.
POSTGRES_OPTIONS = (
    "-c fsync=off", "-c synchronous_commit=off", "-c full_page_writes=off", "-c max_connections=300",
    # A replica that was frozen or away finds what it missed, however much the other tests write meanwhile.
    "-c wal_keep_size=1GB",
)  # fmt: skip


class Pooler:
    """That of this run, if it has one (`--pgbouncer`)."""

    port: int | None = None


class Sealing:
    """Where the keys of texts lie in this run, if texts are stored sealed in it (`--sealed`)."""

    directory: str = ""


def served(url: URL) -> URL:
    """The way that the service takes to a database."""
    return url if Pooler.port is None else url.set(port=Pooler.port)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pgbouncer", action="store_true", help="the service reaches its databases through a PgBouncer")
    parser.addoption("--sealed", action="store_true", help="the service stores texts sealed (ENCRYPT_TEXT)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What needs minutes and every server there is, or a browser, runs where it is named: `make test-scale`, `make
    test-console`.
    """
    own = collection_path.name in ("scale", "console") and collection_path.parent.name == "tests"
    return True if own and not any(collection_path.name in named for named in config.args) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    """In the controlling process: start PostgreSQL, migrate the template. Workers get its URL."""
    if hasattr(config, "workerinput"):
        config.stash_url = config.workerinput["postgres_url"]
        Pooler.port = config.workerinput["pooler_port"]
        Sealing.directory = config.workerinput["text_keys_dir"]
        return
    directory = Path(tempfile.mkdtemp(prefix="llm-saas-test-"))
    server = EmbeddedPostgres(directory, database=TEMPLATE, options=POSTGRES_OPTIONS)
    server.start()
    config.add_cleanup(lambda: (server.stop(), shutil.rmtree(directory, ignore_errors=True)))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    asyncio.run(migrate(server.url))
    config.stash_url = server.url.render_as_string(hide_password=False)
    if config.getoption("--sealed"):
        Sealing.directory = str(directory / "text-keys")
        Path(Sealing.directory).mkdir()
    if config.getoption("--pgbouncer"):
        pooler = PgBouncer(server.url, POOLER_SERVERS)
        pooler.start()
        config.add_cleanup(pooler.stop)
        Pooler.port = pooler.url().port


def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_url"] = node.config.stash_url
    node.workerinput["pooler_port"] = Pooler.port
    node.workerinput["text_keys_dir"] = Sealing.directory


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """No test talks to the outside, nor asks a name server: but for localhost there are no names."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}")

    def checked_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    def without_look_up(host: Any, port: Any, *args: Any, flags: int = 0, **kinds: Any) -> list[Any]:
        if len(args) == 4:  # family, type, proto, flags
            *args, flags = args  # type: ignore[assignment]
        numeric = 0 if host in (None, "localhost", b"localhost") else socket.AI_NUMERICHOST
        return getaddrinfo(host, port, *args, flags=flags | numeric, **kinds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked_connect)
        patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
        patch.setattr(socket, "getaddrinfo", without_look_up)
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_authorities() -> Iterator[None]:
    """Nobody whom they vouch for is reached from here, and each client, of hundreds, would read them for 20 ms."""
    load = ssl.SSLContext.load_verify_locations

    def load_others(self: ssl.SSLContext, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        if cafile != certifi.where():
            load(self, cafile, capath, cadata)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", load_others)
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """A stall of this machine is no outage. Tests that are about one of these bounds set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "CONNECT_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        patch.setattr(gate, "WAIT_SECONDS", PATIENCE_SECONDS)
        patch.setattr(pool, "PING_SECONDS", PATIENCE_SECONDS)
        patch.setattr(rls, "ENTER_SECONDS", PATIENCE_SECONDS)
        patch.setattr(session, "CHECK_SECONDS", PATIENCE_SECONDS)
        patch.setattr(shared, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        patch.setattr(store, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        yield


@pytest.fixture(scope="session")
def template_url(pytestconfig: pytest.Config) -> URL:
    """The superuser's URL of the migrated template."""
    return make_url(pytestconfig.stash_url)


async def execute(url: URL, sql: str) -> None:
    connection = await asyncpg.connect(dsn(url))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest_asyncio.fixture(scope="session")
async def database_url(template_url: URL) -> URL:
    """A migrated database of this worker's own."""
    return await clone(template_url)


async def clone(template_url: URL) -> URL:
    """A new migrated database."""
    name = f"test_{os.getpid()}_{secrets.token_hex(4)}"
    await execute(template_url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    await execute(template_url.set(database=name), REVOKE_TEMPORARY)  # a copy does not take the rights along
    return template_url.set(database=name)


def own_database() -> tuple[Any, Any, Any]:
    """`database_url, settings, superuser = own_database()` gives a file a database that no other file writes to."""

    async def database_url(template_url: URL) -> AsyncIterator[URL]:
        url = await clone(template_url)
        yield url
        await execute(template_url.set(database="postgres"), f"DROP DATABASE {url.database} WITH (FORCE)")

    def settings(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Settings:
        return make_settings(database_url, tmp_path_factory.mktemp("data"))

    async def superuser(database_url: URL) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(dsn(database_url))
        yield connection
        await connection.close()

    of_file = pytest_asyncio.fixture(scope="module", loop_scope="session")
    return of_file(database_url), pytest.fixture(scope="module")(settings), of_file(superuser)


@pytest.fixture(scope="session")
def settings(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(database_url, tmp_path_factory.mktemp("data"))


def make_settings(database_url: URL, data_dir: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": served(database_url).render_as_string(hide_password=False),
        "database_direct_url": database_url.render_as_string(hide_password=False) if Pooler.port else "",
        "data_dir": data_dir,
        "secret_key": SECRET_KEY,
        "master_key": MASTER_KEY,
        "bcrypt_rounds": 4,
        "db_statement_timeout_seconds": 60,  # tests hold locks, on machines that are busy
        "rate_limit_enabled": False,  # the tests of limits switch them on
        # So that what a test writes into a lease stays there. The tests of leases set their own.
        "message_lease_seconds": 3600,
        "environment": "development",
        # The application that all tests of a worker share would take what a test has made to be taken by its own.
        "background_work": False,
        "encrypt_text": bool(Sealing.directory),
        "text_keys_dir": Sealing.directory,
    }
    return Settings(_env_file=None, **{**values, **changes})


@pytest_asyncio.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with lifespan(app):
        app.state.container = replace(
            app.state.container, shared=replace(app.state.container.shared, embedders=Embedders(HashEmbedder()))
        )
        yield app


@pytest_asyncio.fixture(scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest_asyncio.fixture(scope="session")
async def superuser(database_url: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection that row-level security does not hold; to look at and to break what the service must protect."""
    connection = await asyncpg.connect(dsn(database_url))
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def acme(client: httpx.AsyncClient) -> Tenant:
    """A tenant with an admin and a user."""
    return await make_tenant(client)


@pytest_asyncio.fixture
async def rival(client: httpx.AsyncClient) -> Tenant:
    """Another tenant."""
    return await make_tenant(client)
