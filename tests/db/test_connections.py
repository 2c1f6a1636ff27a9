"""Every kind of connection reads the URL in the same way: the pool, the owner's engine, the listener."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from app.core.errors import DatabaseUnavailable
from app.core.settings.database_url import checked_url
from app.db import listener, rls
from app.db.connection import plain_engine
from app.db.listener import Listener
from app.db.provision import provision
from app.db.session import Database
from tests.own_database import OwnDatabase, own_database
from tests.waiting import until
from tests.webhooks.test_tls import certificate


@asynccontextmanager
async def tls_server(url: URL, file: Path) -> AsyncIterator[URL]:
    """The database behind a server that insists on TLS, as a hosting provider's does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (await reader.readexactly(8))[4:] != bytes((4, 210, 22, 47)):  # no SSLRequest
                return
            writer.write(b"S")
            await writer.start_tls(context)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", url.port)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield url.set(host="localhost", port=server.sockets[0].getsockname()[1])
    server.close()


def with_query(url: URL, query: str) -> str:
    return checked_url(url.render_as_string(hide_password=False) + f"?{query}")


async def name_of(url: str) -> str:
    """How the session calls itself: it was made, then."""
    database = Database(url, pool_size=1)
    try:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            name: str = (await connection.execute(text("SELECT current_setting('application_name')"))).scalar_one()
            return name
    finally:
        await database.close()


@pytest.mark.parametrize("query", ["sslmode=prefer", "sslmode=require", "ssl=true", "sslmode=verify-ca&sslrootcert={}",
                                   "sslmode=verify-full&sslrootcert={}"])  # fmt: skip
async def test_a_server_that_insists_on_tls_is_reached(database_url: URL, tmp_path: Path, query: str) -> None:
    file = certificate("localhost", tmp_path)
    async with tls_server(database_url, file) as url:
        assert await name_of(with_query(url, query.format(file))) == "llm-saas-backend"
        engine = plain_engine(with_query(url, query.format(file)))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        await engine.dispose()


@pytest.mark.parametrize("query", ["sslmode=disable", "sslmode=verify-full", "sslmode=verify-full&sslrootcert=system",
                                   "sslmode=verify-full&sslrootcert={other}"])  # fmt: skip
async def test_a_server_that_must_not_be_trusted_is_not(
    database_url: URL, tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    other = certificate("other.example", tmp_path)
    async with tls_server(database_url, certificate("localhost", tmp_path)) as url:
        with pytest.raises(DatabaseUnavailable):
            await name_of(with_query(url, query.format(other=other)))


async def test_parameters_of_a_session_reach_the_server(database_url: URL) -> None:
    url = with_query(database_url, "application_name=shop&options=-c%20geqo%3Doff&connect_timeout=7&gssencmode=disable")
    assert await name_of(url) == "shop"
    database = Database(url, pool_size=1)
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        assert (await connection.execute(text("SELECT current_setting('geqo')"))).scalar_one() == "off"
    await database.close()


async def test_the_first_host_that_takes_writes_is_chosen(database_url: URL) -> None:
    url = database_url.render_as_string(hide_password=False)
    hosts = f"127.0.0.1:1,127.0.0.1:{database_url.port}"
    checked = checked_url(url.replace(f"127.0.0.1:{database_url.port}", hosts) + "?target_session_attrs=read-write")
    assert await name_of(checked) == "llm-saas-backend"


async def test_the_owners_url_may_have_parameters_too(template_url: URL) -> None:
    async with own_database(template_url) as own:
        await provision(make_url(with_query(own.url, "sslmode=prefer&application_name=owner")), own.url)


async def heard_by(own: OwnDatabase, heard: list[str], word: str) -> None:
    """Say it until it is heard; nobody tells when the listener listens."""
    engine = plain_engine(own.url)

    async def said_and_heard() -> bool:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_notify('words', :word)"), {"word": word})
        return word in heard

    await until(said_and_heard, f"{word} to be heard")
    await engine.dispose()


async def test_the_listener_comes_back_whatever_the_server_says_to_a_new_connection(
    template_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(listener, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(listener, "LONGEST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(listener.logger, "warning", lambda _event, reason: reasons.append(reason), raising=False)

    async def refused(reason: str) -> None:
        await until(lambda: reason in reasons, reason)

    async with own_database(template_url) as own:
        login = f"ear_{own.url.database}"
        await own.admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'old'")
        heard: list[str] = []
        ear = Listener(own.url.set(username=login, password="old"), "words", heard.append)
        task = asyncio.create_task(ear.run())
        try:
            await heard_by(own, heard, "first")
            for break_it, reason, mend in (
                (f"ALTER ROLE {login} PASSWORD 'new'", "InvalidPasswordError", f"ALTER ROLE {login} PASSWORD 'old'"),
                (f"ALTER ROLE {login} NOLOGIN", "InvalidAuthorizationSpecificationError", f"ALTER ROLE {login} LOGIN"),
                (f"ALTER ROLE {login} CONNECTION LIMIT 0", "TooManyConnectionsError",
                 f"ALTER ROLE {login} CONNECTION LIMIT -1"),
                (f"ALTER DATABASE {own.url.database} ALLOW_CONNECTIONS false", "ObjectNotInPrerequisiteStateError",
                 f"ALTER DATABASE {own.url.database} ALLOW_CONNECTIONS true"),
            ):  # fmt: skip
                await own.admin.execute(break_it)
                await own.end_sessions()
                await refused(reason)
                await own.admin.execute(mend)
                await heard_by(own, heard, reason)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await own.admin.execute(f"DROP ROLE {login}")


def test_a_listener_that_ends_while_it_connects_leaves_no_error_behind() -> None:
    left: list[str] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    async def end_after(turns: int, url: str) -> None:
        task = asyncio.create_task(Listener(url, "words", left.append).run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: len(asyncio.all_tasks()) == 1, "what was being opened to end")
        gc.collect()

    async def end_at_any_moment() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context["message"]))
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        for turns in range(12):
            await end_after(turns, f"postgresql://x@127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        server.close()

    asyncio.run(end_at_any_moment())
    assert left == []
