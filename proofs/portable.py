"""A tenant goes from one running deployment to another as a file, by the commands; the importer is killed on its way.

After each kill nothing of the tenant is there. Once it was let to end, every page of messages and the usage are to the
byte what they were, by the old password and the old key.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from soak.service import POSTGRES_OPTIONS, ROOT, SETTINGS, serving
from tests.helpers import PASSWORD, Tenant, make_tenant, send
from tests.residency.regions import new_key

KILLS = 5
FURTHER = """
INSERT INTO messages (id, tenant_id, user_id, content, response, status, model, input_tokens, output_tokens,
  cost_micro_usd, created_at)
SELECT gen_random_uuid()::text, $1::text, $2::text, 'Question ' || n, repeat('An answer. ', 1 + n % 100), 'completed',
  'mock-echo', n % 1000, n % 500, n % 10000, now() - n * interval '1 minute' FROM generate_series(1, $3::int) AS n
"""
LEFT = "SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM users) + (SELECT count(*) FROM messages)"


@dataclass(frozen=True)
class Ended:
    said: str
    seconds: float
    megabytes: float
    killed: bool


async def run(times: int, seed: int) -> str:
    """`times`: how many messages the tenant has. Raises `AssertionError` where anything is other than it was."""
    dice = random.Random(seed)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proof-portable-")))
        old, new = [await _deployment(stack, directory / name) for name in ("old", "new")]
        tenant, key = await _furnish(old, times)
        before = await _said(old.port, tenant, key)
        path = str(directory / "acme.portable")
        exported = await _command(old, "export-tenant", tenant.id, path)
        assert not exported.killed, exported.said
        kills, there = 0, 0
        while kills < KILLS and not there:
            await _command(new, "import-tenant", path, kill_after=exported.seconds * dice.uniform(0.2, 0.9))
            kills += 1
            there = await _left(new.url)
            assert there in (0, await _left(old.url)), "a killed import has left something"
        # One that was killed after its commit has imported all.
        imported = await _command(new, "import-tenant", path)
        assert ("nothing has changed" if there else "lines imported") in imported.said, imported.said
        again = await _command(new, "import-tenant", path)
        assert "nothing has changed" in again.said, again.said
        assert await _said(new.port, tenant, key) == before, "the new deployment says something else"
        size = Path(path).stat().st_size / 1e6
    return (
        f"{times} messages, {size:.1f} MB: exported in {exported.seconds:.1f} s with {exported.megabytes:.0f} MB of memory,"
        f" imported in {imported.seconds:.1f} s with {imported.megabytes:.0f} MB, again in {again.seconds:.1f} s;"
        f" {kills} importers were killed and left {'all' if there else 'nothing'}; {len(before)} answers are equal to the byte"
    )


@dataclass(frozen=True)
class Deployment:
    url: URL
    port: int
    directory: Path
    settings: dict[str, str]


async def _deployment(stack: AsyncExitStack, directory: Path) -> Deployment:
    directory.mkdir()
    postgres = await stack.enter_async_context(EmbeddedPostgres(directory, options=POSTGRES_OPTIONS))
    await migrate(postgres.url)
    settings = {**SETTINGS, "SECRET_KEY": f"of the {directory.name} deployment " * 3}
    (port,) = await stack.enter_async_context(serving(postgres.url, directory, 1, settings))
    return Deployment(postgres.url, port, directory, settings)


async def _furnish(old: Deployment, times: int) -> tuple[Tenant, str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{old.port}", timeout=60) as client:
        tenant = await make_tenant(client)
        for number in range(10):
            await send(client, tenant.user, f"Said over the interface: {number}")
        key = await new_key(client, tenant.user)
    connection = await asyncpg.connect(_dsn(old.url))
    await connection.execute(FURTHER, tenant.id, tenant.user.id, times)
    await connection.close()
    return tenant, key


async def _said(port: int, tenant: Tenant, key: str) -> list[bytes]:
    """Every page of messages by the key; the usage by the password."""
    said = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        path: str | None = "/messages?limit=100"
        while path:
            answer = await client.get(path, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200, answer.text
            said.append(answer.content)
            path = answer.links.get("next", {}).get("url")
            path = None if path is None else httpx.URL(path).raw_path.decode()
        login = await client.post("/login", json={"email": tenant.admin.email, "password": PASSWORD})
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        for grouping in ("day", "user", "model"):
            answer = await client.get(f"/usage?group_by={grouping}&since=2000-01-01T00:00:00Z", headers=headers)
            assert answer.status_code == 200, answer.text
            said.append(answer.content)
    return said


async def _command(where: Deployment, *arguments: str, kill_after: float | None = None) -> Ended:
    """As an operator types it; `kill_after` so many seconds, if it has not ended by then."""
    return await asyncio.to_thread(_run, where, arguments, kill_after)


def _run(where: Deployment, arguments: tuple[str, ...], kill_after: float | None) -> Ended:
    environment = {**where.settings, "PATH": os.environ["PATH"], "DATA_DIR": str(where.directory / "data")}
    environment["DATABASE_URL"] = where.url.render_as_string(hide_password=False)
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", "app.cli", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        if kill_after is not None:
            try:
                process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return Ended("", time.monotonic() - began, 0, killed=True)
        _, status, usage = (0, process.returncode, None) if process.returncode is not None else os.wait4(process.pid, 0)
        output.seek(0)
        said = output.read().decode()
    assert status == 0, said
    megabytes = 0.0 if usage is None else usage.ru_maxrss / 1024
    return Ended(said, time.monotonic() - began, megabytes, killed=False)


async def _left(url: URL) -> int:
    connection = await asyncpg.connect(_dsn(url))
    try:
        found: int = await connection.fetchval(LEFT)
        return found
    finally:
        await connection.close()


def _dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
