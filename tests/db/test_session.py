"""The one place where a transaction is opened: what it commits, gives back and survives."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import URL, text

from app.core.errors import AuthenticationError, DatabaseUnavailable
from app.core.ids import new_id
from app.core.principal import Principal
from app.db import rls
from app.db.pool import Prepared
from app.db.session import CHECKS_A_SECOND, Database
from tests.helpers import Tenant
from tests.waiting import until

SLOW = text("SELECT pg_sleep(30)")


@pytest.fixture
async def database(database_url: URL) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=2, share=2, statement_seconds=60)
    yield database
    await database.close()


def insert(tenant_id: str) -> tuple[str, object]:
    name = f"Tenant {new_id()}"
    return name, text("INSERT INTO tenants (id, name) VALUES (:id, :name)").bindparams(id=tenant_id, name=name)


async def stored(superuser: asyncpg.Connection, name: str) -> bool:
    return await superuser.fetchval("SELECT EXISTS (SELECT FROM tenants WHERE name = $1)", name)


async def test_a_block_that_ends_well_is_committed(database: Database, superuser: asyncpg.Connection) -> None:
    tenant_id = new_id()
    name, statement = insert(tenant_id)
    async with database.session(rls.enter_tenant(tenant_id)) as connection:
        await connection.execute(statement)
    assert await stored(superuser, name)


async def test_a_block_that_raises_is_rolled_back(database: Database, superuser: asyncpg.Connection) -> None:
    tenant_id = new_id()
    name, statement = insert(tenant_id)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
        async with database.session(rls.enter_tenant(tenant_id)) as connection:
            await connection.execute(statement)
            raise ZeroDivisionError
    assert not await stored(superuser, name)


async def test_a_block_without_a_statement_costs_nothing_and_breaks_nothing(database: Database) -> None:
    async with database.session(rls.ENTER_NO_TENANT):
        pass
    await database.check()


async def test_a_caller_who_is_deleted_in_mid_transaction_is_refused(
    database: Database, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    caller = Principal(acme.user.id, acme.id, "user", 0)
    values = {"id": new_id(), "user": acme.user.id, "tenant": acme.id}
    insert_message = text("INSERT INTO messages (id, content, user_id, tenant_id) VALUES (:id, 'x', :user, :tenant)")
    with pytest.raises(AuthenticationError):  # noqa: PT012 - the block is what is tested
        async with database.tenant_session(caller).begin() as connection:
            await connection.execute(text("SELECT 1"))
            await superuser.execute("DELETE FROM users WHERE id = $1", acme.user.id)
            await connection.execute(insert_message, values)


async def test_cancelled_blocks_give_their_connections_back_clean(database: Database, acme: Tenant) -> None:
    principal = Principal(acme.user.id, acme.id, "user", 0)

    async def hang(started: asyncio.Event) -> None:
        async with database.tenant_session(principal).begin() as connection:
            await connection.execute(text("SELECT 1"))
            started.set()
            await connection.execute(SLOW)

    for _ in range(10):
        started = [asyncio.Event() for _ in range(2)]
        tasks = [asyncio.create_task(hang(event)) for event in started]
        await asyncio.gather(*(event.wait() for event in started))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert database.pool.in_use == 0
    for _ in range(4):
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            assert (await connection.execute(text("SELECT count(*) FROM tenants"))).scalar_one() == 0


async def test_a_cancel_at_any_moment_leaves_no_tenant_on_a_connection(database: Database, acme: Tenant) -> None:
    principal = Principal(acme.user.id, acme.id, "user", 0)

    async def work() -> None:
        async with database.tenant_session(principal).begin() as connection:
            await connection.execute(text("SELECT count(*) FROM messages"))

    for turns in range(60):
        task = asyncio.create_task(work())
        for _ in range(turns):  # cancel after each of the first loop turns: connect, begin, statement, commit, close
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            assert (await connection.execute(text("SELECT count(*) FROM tenants"))).scalar_one() == 0
    assert database.pool.in_use == 0


async def test_connections_that_the_server_closed_are_replaced_unseen(
    database: Database, superuser: asyncpg.Connection
) -> None:
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        driver = connection.driver
    await superuser.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await until(driver.is_closed, "the loop to see the socket close")

    for _ in range(3):
        await database.check()


async def test_a_database_that_is_not_there_is_unavailable(database_url: URL) -> None:
    database = Database(database_url.set(port=1), pool_size=1)
    for _ in range(3):  # and the gate is not left closed
        with pytest.raises(DatabaseUnavailable):
            await database.check()
    await database.close()


async def test_waiters_are_served_in_order(database_url: URL) -> None:
    database = Database(database_url, pool_size=1)
    served: list[int] = []

    async def work(n: int) -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(text("SELECT 1"))
            served.append(n)

    async with asyncio.TaskGroup() as tasks:
        for n in range(50):
            tasks.create_task(work(n))
    await database.close()

    assert served == list(range(50))


async def test_the_pool_never_grows_beyond_its_size(database_url: URL, superuser: asyncpg.Connection) -> None:
    database = Database(database_url, pool_size=3)
    pids: set[int] = set()

    async def work() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            pids.add((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    await asyncio.gather(*(work() for _ in range(60)))
    await database.close()

    assert len(pids) <= 3


async def test_it_works_without_prepared_statements_as_behind_a_transaction_pooler(
    database_url: URL, acme: Tenant
) -> None:
    database = Database(database_url, pool_size=2, prepared=Prepared(0))
    principal = Principal(acme.user.id, acme.id, "user", 0)
    for _ in range(3):
        async with database.tenant_session(principal).begin() as connection:
            assert (await connection.execute(text("SELECT id FROM tenants"))).scalar_one() == acme.id
    await database.close()


async def test_a_connection_begins_no_transaction_but_a_sessions(database: Database) -> None:
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        for options in ({}, {"isolation": "serializable"}, {"readonly": True}, {"deferrable": True}):
            with pytest.raises(RuntimeError, match="session alone"):
                connection.driver.transaction(**options)


async def test_whoever_entered_last_decides_what_a_connection_shows(
    database_url: URL, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    database = Database(database_url, pool_size=1)
    await superuser.execute("UPDATE tenants SET message_visibility = 'own' WHERE id = $1", acme.id)
    try:
        for member, role, own in (
            (acme.user, "user", True),
            (acme.admin, "admin", False),
            (acme.user, "user", True),
            (rival.user, "user", False),
        ):
            async with database.tenant_session(Principal(member.id, member.tenant_id, role, 0)).begin() as connection:
                assert connection.own_alone is own
                viewer = (await connection.execute(text("SELECT app_viewer()"))).scalar_one()
                assert viewer == (member.id if own else "*")
        async with database.session(rls.enter_tenant(acme.id)) as connection:
            assert not connection.own_alone
    finally:
        await database.close()


async def test_a_transaction_that_only_reads_is_unavailable_for_a_write(database: Database) -> None:
    tenant_id = new_id()
    _, statement = insert(tenant_id)
    with pytest.raises(DatabaseUnavailable) as raised:  # noqa: PT012 - the block is what is tested
        async with database.session(rls.enter_tenant(tenant_id)) as connection:
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(statement)
    assert getattr(raised.value.__cause__, "sqlstate", None) == "25006"


async def test_a_flood_of_checks_costs_the_database_a_few(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = 0
    write_nothing = database._write_nothing

    async def counted() -> None:
        nonlocal probes
        probes += 1
        await write_nothing()

    monkeypatch.setattr(database, "_write_nothing", counted)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(200):
        await database.check()
    assert probes <= CHECKS_A_SECOND * (loop.time() - started + 2)
