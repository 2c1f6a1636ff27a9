"""`verify-isolation` as an operator runs it: on a fleet behind nginx, and killed, ended and interrupted on the way."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from app.verification.tenants import SIDES, SLOTS, Credentials
from tests.committed.server import ROOT
from tests.conftest import MASTER_KEY, SECRET_KEY, dsn
from tests.deploy.nginx import NGINX, Nginx
from tests.pgbouncer import MISSING, PROGRAM
from tests.redis_server import needs_redis
from tests.scale.fleet import Fleet, running
from tests.waiting import until, within_patience

pytestmark = [
    needs_redis,
    pytest.mark.skipif(PROGRAM is None, reason=MISSING),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (make test installs it for root)"),
]
NAMES = [Credentials.of(SECRET_KEY, side, slot).tenant_name for side in SIDES for slot in SLOTS]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with running(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nginx]:
    proxy = Nginx(tmp_path_factory.mktemp("nginx"), [server.port for server in fleet.servers])
    await proxy.start()
    yield proxy
    proxy.stop()


async def begin(fleet: Fleet, proxy: Nginx, directory: Path) -> asyncio.subprocess.Process:
    """As its operator types it: with the runtime's login, through the pooler."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(directory),
        "DATABASE_URL": fleet.pooler.url().render_as_string(hide_password=False),
        "SECRET_KEY": SECRET_KEY,
        "MASTER_KEY": MASTER_KEY,
        "BCRYPT_ROUNDS": "4",
        "SSL_CERT_FILE": str(proxy.certificate),
    }
    command = ("verify-isolation", "--url", f"https://127.0.0.1:{proxy.port}", "--report", str(directory))
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *command, cwd=ROOT, env=environment, **pipes
    )


async def test_it_holds_through_nginx_pgbouncer_and_a_replica(fleet: Fleet, proxy: Nginx, tmp_path: Path) -> None:
    run = await begin(fleet, proxy, tmp_path)
    told, _ = await within_patience(run.communicate(), "a run to end")
    assert run.returncode == 0, told.decode()
    report = json.loads((tmp_path / "isolation.json").read_text())
    assert report["verdict"] == "holds"
    assert not [line for line in report["unseen"] if "statements" not in line], report["unseen"]


async def test_killed_it_leaves_what_the_next_run_erases_and_ended_it_leaves_nothing(
    fleet: Fleet, proxy: Nginx, tmp_path: Path
) -> None:
    superuser = await asyncpg.connect(dsn(fleet.database))

    async def there() -> frozenset[str]:
        return frozenset(row[0] for row in await superuser.fetch("SELECT id FROM tenants WHERE name = ANY($1)", NAMES))

    async def made(before: frozenset[str]) -> frozenset[str] | None:
        found = await there()
        return found if len(found) == len(SIDES) and not found & before else None

    left: frozenset[str] = frozenset()
    for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        run = await begin(fleet, proxy, tmp_path)
        left = await until(partial(made, left), "a run to have made its tenants")
        run.send_signal(sent)
        told, said = await within_patience(run.communicate(), "a run to end")
        if sent == signal.SIGKILL:
            assert await there() == left
            continue
        assert (run.returncode, b"Traceback" in said) == (2, False), said.decode()
        assert b"GAVE UP: interrupted" in told
        assert await there() == frozenset()
    await superuser.close()
