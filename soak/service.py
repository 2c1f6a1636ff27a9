"""The service as it is deployed: uvicorn in processes of its own, over a PostgreSQL that lives as long as the run."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from soak.seed import PASSWORD, email, seed

ROOT = Path(__file__).resolve().parents[1]
# The run is about isolation and errors, not about surviving a power cut.
POSTGRES_OPTIONS = ("-c fsync=off", "-c synchronous_commit=off", "-c shared_buffers=256MB", "-c max_connections=100")
SETTINGS = {
    "SECRET_KEY": "soak-run-" * 4,
    "BCRYPT_ROUNDS": "4",
    "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
    "FRESH_LOGIN_MINUTES": "1440",
    "RATE_LIMIT_ENABLED": "false",
    "LOG_LEVEL": "ERROR",  # its log is empty unless something failed
    "LLM_PROVIDER": "mock",
}


@dataclass(frozen=True)
class Service:
    """`ports`: of each process. `tokens` are (admin's, user's) by the number of the tenant, from 1 on."""

    ports: tuple[int, ...]
    url: URL
    log: Path
    tenants: int
    tokens: dict[int, tuple[str, str]]

    def errors(self) -> str:
        """What it logged: tracebacks, or nothing."""
        return self.log.read_text(errors="replace")


@asynccontextmanager
async def running(tenants: int, processes: int) -> AsyncIterator[Service]:
    """A seeded service; every tenant's admin and user are logged in.

    Each process has a port of its own: with one for all, the kernel gives nearly all connections to one of them.
    """
    with tempfile.TemporaryDirectory(prefix="llm-saas-soak-") as directory:
        async with EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS) as postgres:
            await migrate(postgres.url)
            await seed(postgres.url, tenants)
            log = Path(directory) / "service.log"
            async with serving(postgres.url, Path(directory), processes, SETTINGS) as ports:
                async with _client(ports[0]) as client:
                    tokens = await _log_all_in(client, tenants)
                yield Service(ports, postgres.url, log, tenants, tokens)


@asynccontextmanager
async def serving(
    url: URL, directory: Path, processes: int, settings: Mapping[str, str]
) -> AsyncIterator[tuple[int, ...]]:
    """Processes of the service, ready, by their ports; they log to `service.log` in the directory."""
    log = directory / "service.log"
    ports = tuple(free_port() for _ in range(processes))
    started = [_start(url, port, directory, log, settings) for port in ports]
    try:
        for port, process in zip(ports, started, strict=True):
            await _until_ready(port, process, log)
        yield ports
    finally:
        for process in started:
            process.terminate()
        for process in started:
            await asyncio.to_thread(process.wait)


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)


def _start(url: URL, port: int, directory: Path, log: Path, settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "DATA_DIR": str(directory / "data"),
        **settings,
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "main:app",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


async def _until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with asyncio.timeout(60), _client(port) as client:
        while True:
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            try:
                if (await client.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def _log_all_in(client: httpx.AsyncClient, tenants: int) -> dict[int, tuple[str, str]]:
    async def log_in(address: str) -> str:
        answer = await client.post("/login", json={"email": address, "password": PASSWORD})
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    numbers = range(1, tenants + 1)
    admins = await asyncio.gather(*(log_in(email(tenant, "admin")) for tenant in numbers))
    users = await asyncio.gather(*(log_in(email(tenant, "user")) for tenant in numbers))
    return dict(zip(numbers, zip(admins, users, strict=True), strict=True))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
