"""The embedded PostgreSQL under several processes that come, go and die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from tests.conftest import dsn
from tests.waiting import until

# A client process: starts or joins the server, says so, and stays until its stdin closes.
CLIENT = """
import sys
from pathlib import Path
from app.db.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print("up", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(BrokenPipeError):
            process.communicate()
    EmbeddedPostgres(tmp_path).stop()
    assert postmaster(tmp_path) is None


def wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


def postmaster(data_dir: Path) -> int | None:
    """The process id of the server, if it lives."""
    file = data_dir / "postgres" / "data" / "postmaster.pid"
    if not file.exists():
        return None
    pid = int(file.read_text().split()[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return pid


async def query(data_dir: Path) -> int:
    connection = await asyncpg.connect(dsn(EmbeddedPostgres(data_dir).url))
    try:
        return await connection.fetchval("SELECT 1")
    finally:
        await connection.close()


async def test_processes_that_start_together_share_one_server_and_the_last_stops_it(clients, tmp_path: Path) -> None:
    together = [clients() for _ in range(3)]
    for process in together:
        wait_until_up(process)
    pid = postmaster(tmp_path)
    assert pid is not None

    for process in together[:2]:
        leave(process)
        assert postmaster(tmp_path) == pid
    assert await query(tmp_path) == 1
    leave(together[2])
    assert postmaster(tmp_path) is None


async def test_a_client_killed_hard_does_not_keep_the_server_alive(clients, tmp_path: Path) -> None:
    killed, survivor = clients(), clients()
    wait_until_up(killed)
    wait_until_up(survivor)

    killed.kill()
    killed.wait()

    assert await query(tmp_path) == 1
    leave(survivor)
    assert postmaster(tmp_path) is None


async def test_after_the_only_client_was_killed_the_next_one_takes_over(clients, tmp_path: Path) -> None:
    only = clients()
    wait_until_up(only)
    pid = postmaster(tmp_path)
    only.kill()
    only.wait()

    heir = clients()
    wait_until_up(heir)

    assert postmaster(tmp_path) == pid
    leave(heir)
    assert postmaster(tmp_path) is None


async def test_a_server_killed_hard_comes_back_with_its_data(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        connection = await asyncpg.connect(dsn(server.url))
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        await connection.close()
        first = postmaster(tmp_path)
        assert first is not None
        os.kill(first, signal.SIGKILL)

        async def connected() -> asyncpg.Connection | None:
            with suppress(OSError, LookupError, TimeoutError, asyncpg.PostgresError):
                return await asyncpg.connect(dsn(server.url), timeout=5)
            return None

        connection = await until(connected, "the server to come back")
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()
        assert postmaster(tmp_path) not in (first, None)
    assert postmaster(tmp_path) is None


async def test_it_serves_loopback_alone_and_asks_for_the_password(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        connection = await asyncpg.connect(dsn(server.url))
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        assert await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 1
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn(server.url.set(password="guess")))
        assert (tmp_path / "postgres" / "password").stat().st_mode & 0o077 == 0


async def test_a_data_directory_that_only_its_owner_may_enter_works(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with EmbeddedPostgres(closed) as server:
        assert server.url.port


async def test_letters_beyond_ascii_are_folded_alike_on_every_system(template_url: URL) -> None:
    connection = await asyncpg.connect(dsn(template_url))
    try:
        provider = "SELECT datlocprovider FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(provider) == b"b"  # PostgreSQL's own, not the operating system's
        assert await connection.fetchval("SELECT lower('ÄÉ')") == "äé"
        words = await connection.fetchval("SELECT to_tsvector('simple', 'ÜBUNG École')::text")
    finally:
        await connection.close()
    assert words == "'école':2 'übung':1"


async def test_a_server_that_is_started_again_is_where_its_clients_look_for_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    before = server.url
    connections = [await asyncpg.connect(dsn(before)) for _ in range(3)]
    server.stop()  # it closes them, so the system keeps its end of them for a minute
    server.start()
    try:
        assert server.url.port == before.port
    finally:
        server.stop()
        for connection in connections:
            connection.terminate()
