"""What every section needs: a seeded PostgreSQL, and server processes to measure."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
from sqlalchemy import URL

from app.core.credentials.keys import KeyRing, shared_key
from app.core.principal import Principal
from app.core.security import PasswordHasher, TokenService
from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate

ROOT = Path(__file__).resolve().parents[1]
SECRET_KEY = "benchmark-" * 4
TENANTS, MESSAGES = 100, 200_000
PASSWORD = "correct horse battery"
# The same for both sides; durability is off so that the disk's mood stays out of the ratios.
POSTGRES_OPTIONS = ("-c fsync=off", "-c synchronous_commit=off", "-c shared_buffers=512MB", "-c max_connections=200")

SEED = """
INSERT INTO tenants (id, name) SELECT lpad(t::text, 8, '0') || '-0000-7000-8000-000000000000', 'Tenant ' || t
  FROM generate_series(1, {tenants}) t;
INSERT INTO users (id, email, hashed_password, role, tenant_id)
  SELECT lpad(t::text, 8, '0') || '-0000-7000-8000-000000000001', 'user' || t || '@acme.com', '{hashed}', 'user',
         lpad(t::text, 8, '0') || '-0000-7000-8000-000000000000'
  FROM generate_series(1, {tenants}) t;
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
  SELECT replace(u.id, '000000000001', '000000000003'), u.tenant_id, u.id, '', now() + interval '1 day' FROM users u;
INSERT INTO messages (id, content, response, user_id, tenant_id, status, model, input_tokens, output_tokens, created_at)
  SELECT lpad(m::text, 8, '0') || '-0000-7000-8000-000000000002', 'What is async Python? ' || m, repeat('An answer. ', 20),
         u.id, u.tenant_id, 'completed', 'mock-echo', 5, 50, now() - m * interval '1 second'
  FROM generate_series(1, {messages}) m
  JOIN users u ON u.tenant_id = lpad((1 + m % {tenants})::text, 8, '0') || '-0000-7000-8000-000000000000';
"""


def principal(number: int = 1) -> Principal:
    prefix = f"{number:08d}-0000-7000-8000-"
    return Principal(f"{prefix}000000000001", f"{prefix}000000000000", "user", 0, f"{prefix}000000000003")


def token(number: int = 1) -> str:
    return TokenService(KeyRing(shared_key(SECRET_KEY, "HS256")), 60).mint(principal(number))


@asynccontextmanager
async def seeded_database() -> AsyncIterator[URL]:
    with tempfile.TemporaryDirectory(prefix="llm-saas-bench-") as directory:
        async with EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS) as server:
            await migrate(server.url)
            hashed = await PasswordHasher(12).hash(PASSWORD)
            connection = await asyncpg.connect(dsn(server.url))
            await connection.execute(SEED.format(tenants=TENANTS, messages=MESSAGES, hashed=hashed), timeout=300)
            await connection.execute("VACUUM ANALYZE", timeout=300)
            await connection.close()
            yield server.url


def dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def cpu_seconds(self) -> float:
        user, system = _stat(self.process.pid)[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def cpu_seconds_of_children(self) -> float:
        """Of those that it began, and waited for."""
        user, system = _stat(self.process.pid)[13:15]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@dataclass
class Postgres:
    """The server's processes, for what they cost."""

    postmaster: int

    @classmethod
    async def of(cls, url: URL) -> Self:
        connection = await asyncpg.connect(dsn(url))
        postmaster = int(_stat(await connection.fetchval("SELECT pg_backend_pid()"))[1])
        await connection.close()
        return cls(postmaster)

    def cpu_seconds(self) -> float:
        """Of the postmaster, the processes that it waited for, and those that live."""
        ticks = sum(map(int, _stat(self.postmaster)[11:15]))
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it may end meanwhile
                if entry.name.isdigit() and int((fields := _stat(int(entry.name)))[1]) == self.postmaster:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


@asynccontextmanager
async def serving(application: str, url: URL, root: Path = ROOT, **settings: str) -> AsyncIterator[Server]:
    """One uvicorn worker with `application` of the checkout `root`; its log goes where it costs no disk."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "SECRET_KEY": SECRET_KEY,
        "DATA_DIR": tempfile.gettempdir(),
        "RATE_LIMIT_ENABLED": "false",
        **{name.upper(): value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--no-access-log"]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until_open(port)
        yield Server(process, port)
    finally:
        process.terminate()
        process.wait()


async def until_open(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
