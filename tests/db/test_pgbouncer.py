"""Behind PgBouncer in transaction mode, where every transaction may meet another server connection."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL, text
from structlog.testing import capture_logs

from app.application import create_app, lifespan
from app.core.principal import Principal
from app.core.settings.unusable import UnusableSetting
from app.db import rls
from app.db.listener import Listener
from app.db.provision import migrate
from app.db.session import Database, Session
from app.db.start_check import check_databases
from tests.conftest import client_of, dsn, make_settings
from tests.helpers import Tenant, make_tenant, send
from tests.pgbouncer import MISSING, PROGRAM, PgBouncer
from tests.waiting import until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
SERVERS = 2


@pytest.fixture
def pooled(database_url: URL) -> Iterator[URL]:
    """The database's URL through a PgBouncer with two server connections."""
    pooler = PgBouncer(database_url, SERVERS)
    pooler.start()
    yield pooler.url()
    pooler.stop()


async def test_interleaved_tenants_see_only_their_own(pooled: URL, acme: Tenant, rival: Tenant) -> None:
    database = Database(pooled, pool_size=8)

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


async def test_requests_of_many_tenants_at_once_get_their_own_rows_and_all_of_them(
    pooled: URL, database_url: URL, tmp_path: Path
) -> None:
    settings = make_settings(pooled, tmp_path, database_direct_url=database_url.render_as_string(hide_password=False))
    app = create_app(settings)
    async with lifespan(app), client_of(app) as client:
        tenants = [await make_tenant(client) for _ in range(4)]
        sent = {tenant.id: {(await send(client, tenant.user))["id"]} for tenant in tenants}

        async def use(tenant: Tenant) -> None:
            message = await send(client, tenant.user, content=tenant.id)
            assert tenant.id in message["response"]
            sent[tenant.id].add(message["id"])
            listed = await client.get("/messages", headers=tenant.user.headers)
            assert {row["tenant_id"] for row in listed.json()} == {tenant.id}
            used = (await client.get("/usage?group_by=user", headers=tenant.admin.headers)).json()
            assert {row["key"] for row in used} == {tenant.user.id}
            users = await client.get(f"/tenants/{tenant.id}/users", headers=tenant.admin.headers)
            assert {row["id"] for row in users.json()} == {tenant.admin.id, tenant.user.id}

        await asyncio.gather(*(use(tenant) for _ in range(10) for tenant in tenants))
        for tenant in tenants:
            listed = await client.get("/messages?limit=100", headers=tenant.user.headers)
            assert {row["id"] for row in listed.json()} == sent[tenant.id]


async def test_the_bound_on_a_statement_is_the_transactions_alone(pooled: URL, acme: Tenant) -> None:
    database = Database(pooled, pool_size=4, statement_seconds=7)
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


async def test_statements_are_prepared_without_a_pooler_alone(pooled: URL, database_url: URL) -> None:
    prepared = text("SELECT count(*) FROM pg_prepared_statements")
    for url, expected in ((pooled, 0), (database_url, 1)):
        database = Database(url, pool_size=1)
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            assert (await connection.execute(prepared)).scalar_one() == expected
        await database.close()


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"database_direct_url": "pooled"}, "DATABASE_DIRECT_URL"),
        ({"database_direct_url": "direct", "db_pooler_prepared": True}, "DB_POOLER_PREPARED"),
        ({"database_url": "pooled?options=-csearch_path%3Dpublic"}, "DATABASE_URL"),
    ],
)
async def test_what_a_pooler_makes_unsafe_is_refused_at_start_by_its_name(
    pooled: URL, database_url: URL, tmp_path: Path, changes: dict[str, str | bool], refused: str
) -> None:
    urls = {"pooled": pooled, "direct": database_url}

    def filled(value: str | bool) -> str | bool:
        if isinstance(value, bool):
            return value
        name, separator, options = value.partition("?")
        return urls[name].render_as_string(hide_password=False) + separator + options

    settings = make_settings(pooled, tmp_path)
    settings = settings.model_copy(update={name: filled(value) for name, value in changes.items()})
    app = create_app(settings)
    with pytest.raises(UnusableSetting, match=f"^{refused}: ") as refusal:
        async with lifespan(app):
            pass
    assert str(database_url.password) not in str(refusal.value)


async def test_a_pooler_in_the_way_of_notifications_is_named_in_the_log(pooled: URL, tmp_path: Path) -> None:
    settings = make_settings(pooled, tmp_path).model_copy(update={"database_direct_url": ""})
    with capture_logs() as logged:
        await check_databases(settings, settings.database_url)
    assert [(line["event"], line["remedy"]) for line in logged] == [("notifications_not_heard", "DATABASE_DIRECT_URL")]


@pytest.fixture
async def heard(database_url: URL, pooled: URL) -> AsyncIterator[list[str]]:
    """What is heard with a pooler's URL."""
    said: list[str] = []
    listening = asyncio.create_task(Listener(pooled, "of_a_test", said.append).run())
    yield said
    listening.cancel()
    await asyncio.wait({listening})


async def test_nobody_listens_through_a_pooler(superuser: asyncpg.Connection, heard: list[str], pooled: URL) -> None:
    of_pooler = "SELECT query FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'COPY%pg_backend_pid%'"
    await until(lambda: superuser.fetchval(of_pooler, pooled.database), "the listener to have asked")
    assert not await superuser.fetchval("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN of_a_test%'")
    assert heard == []


async def test_the_owners_work_passes_a_pooler(pooled: URL) -> None:
    for _ in range(3):
        await migrate(pooled)
