"""Behind PgBouncer in transaction mode, where every transaction may meet another server connection."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL, text

from app.core.principal import Principal
from app.db import rls
from app.db.session import Database, Session
from tests.committed.server import free_port
from tests.conftest import dsn
from tests.helpers import Tenant
from tests.waiting import until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (make test installs it for root)")


@pytest.fixture
async def pooled(database_url: URL) -> AsyncIterator[URL]:
    """The database's URL through a PgBouncer with two server connections."""
    directory = Path(tempfile.mkdtemp())  # pytest's own are closed to the user that PgBouncer becomes under root
    port = free_port()
    (directory / "users").write_text(f'"{database_url.username}" "{database_url.password}"\n')
    (directory / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={database_url.port} user={database_url.username} "
        f"password={database_url.password}\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=plain\n"
        f"auth_file={directory}/users\npool_mode=transaction\ndefault_pool_size=2\nmax_client_conn=100\n"
    )
    directory.chmod(0o755)
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    if user:
        for path in (directory, *directory.iterdir()):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    process = subprocess.Popen([PGBOUNCER, "-q", *user, str(directory / "ini")], stderr=subprocess.DEVNULL)

    async def accepts() -> bool:
        assert process.poll() is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(accepts, "PgBouncer to take connections")
    yield database_url.set(port=port)
    process.terminate()
    process.wait()
    shutil.rmtree(directory)


async def test_interleaved_tenants_see_only_their_own(pooled: URL, acme: Tenant, rival: Tenant) -> None:
    database = Database(pooled, pool_size=8, statement_cache_size=0)

    async def ask(tenant: Tenant) -> None:
        principal = Principal(tenant.user.id, tenant.id, "user", 0)
        async with database.tenant_session(principal).begin() as connection:
            assert (await connection.execute(text("SELECT id FROM tenants"))).scalars() == [tenant.id]
            await asyncio.sleep(0)
            assert (await connection.execute(text("SELECT count(*) FROM users"))).scalar_one() == 2

    async def ask_nobody() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            assert (await connection.execute(text("SELECT count(*) FROM users"))).scalar_one() == 0

    await asyncio.gather(*(job for _ in range(50) for job in (ask(acme), ask(rival), ask_nobody())))
    await database.close()


async def test_the_bound_on_a_statement_is_the_transactions_alone(pooled: URL, acme: Tenant) -> None:
    database = Database(pooled, pool_size=4, statement_cache_size=0, statement_seconds=7)
    show = text("SELECT current_setting('statement_timeout')")

    async def bound(session: Session) -> str:
        async with session as connection:
            return str((await connection.execute(show)).scalar_one())

    principal = Principal(acme.user.id, acme.id, "user", 0)
    for _ in range(4):
        assert await bound(database.tenant_session(principal).begin()) == "7s"
        assert await bound(database.background(rls.ENTER_NO_TENANT)) == "25s"
    await database.close()
    connection = await asyncpg.connect(dsn(pooled), statement_cache_size=0)
    for _ in range(4):
        assert await connection.fetchval("SHOW statement_timeout") == "0"
    await connection.close()
