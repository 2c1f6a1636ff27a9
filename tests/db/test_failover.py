"""A database that goes away, comes back read-only, or is forgotten by what stands between: it heals by itself."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL, text

from app.application import create_app, lifespan
from app.core.errors import DatabaseUnavailable
from app.db import pool, rls, session
from app.db.failures import domain_error
from app.db.session import Database
from tests.conftest import client_of, dsn, make_settings
from tests.helpers import make_tenant
from tests.own_database import OwnDatabase, own_database
from tests.waiting import PATIENCE_SECONDS, within_patience


@pytest.fixture
async def own(template_url: URL) -> AsyncIterator[OwnDatabase]:
    async with own_database(template_url) as database:
        yield database


@asynccontextmanager
async def serving(url: URL, data_dir: Path) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(make_settings(url, data_dir, db_pool_size=3, share=3))
    async with lifespan(app), client_of(app) as client:
        yield app, client


class Forgetful:
    """A TCP proxy that can forget: what is sent over the connections of before goes nowhere, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def forget(self) -> None:
        self._forgotten |= self._writers

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, inner_writer}
        try:
            await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
        finally:
            writer.transport.abort()
            inner_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if writer not in self._forgotten:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def proxied(url: URL) -> AsyncIterator[tuple[URL, Forgetful]]:
    assert url.port is not None
    proxy = Forgetful(url.port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    yield url.set(port=server.sockets[0].getsockname()[1]), proxy
    server.close()


async def pids_of(database: Database, count: int) -> set[int]:
    """The backends of so many connections at once."""
    together = asyncio.Barrier(count)

    async def one() -> int:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            await together.wait()
            return pid

    return set(await asyncio.gather(*(one() for _ in range(count))))


async def test_sessions_that_began_read_only_are_replaced_and_writes_go_on(own: OwnDatabase, tmp_path: Path) -> None:
    async with serving(own.url, tmp_path) as (_, client):
        acme = await make_tenant(client)

        async def status() -> int:
            return (await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)).status_code

        await own.set("SET default_transaction_read_only = on")
        await own.end_sessions()
        refused = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["type"] == "urn:llm-saas:problem:database-unavailable"
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/messages", headers=acme.user.headers)).status_code == 200

        await own.set("RESET default_transaction_read_only")
        assert (await client.get("/messages", headers=acme.user.headers)).status_code == 200
        # Those that are idle in the pool and read-only: each is met once at most.
        statuses = [await status() for _ in range(6)]
        assert statuses[-1] == 201
        assert (await client.get("/health/ready")).status_code == 200


async def test_reads_by_key_go_on_while_the_database_only_reads(own: OwnDatabase, tmp_path: Path) -> None:
    async with serving(own.url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        body = {"name": "k", "scopes": ["messages:read"]}
        key = (await client.post("/api-keys", json=body, headers=acme.user.headers)).json()["key"]
        await own.set("SET default_transaction_read_only = on")
        await own.end_sessions()
        answer = await client.get("/messages", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200


async def test_one_read_only_session_takes_those_as_old_with_it(
    own: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(own.url, pool_size=3, share=3)
    before = await pids_of(database, 3)
    await own.set("SET default_transaction_read_only = on")
    await own.end_sessions()
    read_only = await pids_of(database, 3)
    assert not read_only & before
    monkeypatch.setattr(pool, "YOUNG_SECONDS", 0)
    await own.set("RESET default_transaction_read_only")
    with pytest.raises(DatabaseUnavailable):
        await database.check()
    assert not await pids_of(database, 3) & read_only
    await database.check()
    await database.close()


async def test_a_table_that_changed_under_prepared_statements_costs_one_transaction(own: OwnDatabase) -> None:
    owner = await asyncpg.connect(dsn(own.url))
    await owner.execute("CREATE TABLE plain AS SELECT 1 AS value; GRANT SELECT ON plain TO llm_saas_app")
    database = Database(own.url, pool_size=3, share=3)
    statement, together = text("SELECT value FROM plain"), asyncio.Barrier(3)

    async def read() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(statement)
            await together.wait()

    await asyncio.gather(*(read() for _ in range(3)))
    await owner.execute("ALTER TABLE plain ALTER COLUMN value TYPE bigint")
    with pytest.raises(DatabaseUnavailable):
        await read()
    await asyncio.gather(*(read() for _ in range(3)))
    await owner.close()
    await database.close()


@pytest.mark.parametrize(
    "state", ["08006", "25006", "28000", "28P01", "3D000", "40P01", "53300", "55P03", "57P03", "58000"]
)
async def test_what_passes_by_itself_is_unavailable(database_url: URL, state: str) -> None:
    database = Database(database_url, pool_size=1)
    with pytest.raises(DatabaseUnavailable):
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(text(f"DO $$ BEGIN RAISE 'x' USING ERRCODE = '{state}'; END $$"))
    await database.check()
    await database.close()


def test_the_moment_between_the_servers_last_word_and_the_sockets_end_is_an_outage_too() -> None:
    # So the driver says it of a statement that falls into it: a session that was ended while it was idle.
    error = asyncpg.InternalClientError('cannot switch to state 12; protocol is in the "failed" state')
    assert isinstance(domain_error(error), DatabaseUnavailable)


async def test_a_forgotten_connection_that_was_idle_costs_no_request(
    database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(database_url) as (url, proxy):
        database = Database(url, pool_size=3, share=3)
        before = await pids_of(database, 3)
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0)
        monkeypatch.setattr(pool, "PING_SECONDS", 1)
        proxy.forget()
        assert not await pids_of(database, 3) & before
        await database.close()


async def test_a_forgotten_connection_costs_one_request_its_bound_and_takes_the_others_with_it(
    database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "YOUNG_SECONDS", 0)
    async with proxied(database_url) as (url, proxy):
        database = Database(url, pool_size=3, share=3)
        before = await pids_of(database, 3)
        monkeypatch.setattr(rls, "ENTER_SECONDS", 0.2)
        proxy.forget()
        with pytest.raises(DatabaseUnavailable):
            async with database.session(rls.ENTER_NO_TENANT) as connection:
                await connection.execute(text("SELECT 1"))
        monkeypatch.setattr(rls, "ENTER_SECONDS", PATIENCE_SECONDS)
        assert not await pids_of(database, 3) & before
        await database.close()


async def test_readiness_does_not_wait_for_a_database_that_does_not_answer(
    database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECK_SECONDS", 0.1)
    async with proxied(database_url) as (url, proxy):
        database = Database(url, pool_size=1)
        await pids_of(database, 1)
        proxy.forget()
        for _ in range(3):  # and does not ask ever more
            with pytest.raises(DatabaseUnavailable):
                await database.check()
        assert database.pool.in_use == 1
        await within_patience(database.close(), "the end of the pool")


async def test_a_connection_is_replaced_when_its_time_is_over(database_url: URL) -> None:
    database = Database(database_url, pool_size=1)
    before = await pids_of(database, 1)
    assert await pids_of(database, 1) == before
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        connection.driver.ends = 0
    assert await pids_of(database, 1) != before
    await database.close()


async def test_the_socket_notices_that_nobody_is_there(database_url: URL) -> None:
    database = Database(database_url, pool_size=1)
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        of_it = connection.driver._transport.get_extra_info("socket")
        assert of_it.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert of_it.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    await database.close()
