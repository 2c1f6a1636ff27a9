"""Messages older than their tenant keeps them go: those alone, once, and with their figures kept."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.db.session import Database
from app.messages.retention import Retention
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.test_large_erasure import A_LOCK, WAITING, counting_deletions, stopped_at
from tests.conftest import own_database
from tests.helpers import Member, Tenant, make_tenant
from tests.waiting import until

database_url, settings, superuser = own_database()

LEFT = "SELECT array_agg(content ORDER BY content) FROM messages WHERE tenant_id = $1"


async def insert(
    superuser: asyncpg.Connection, member: Member, age: str, count: int = 1, status: str = "completed"
) -> None:
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, content, status, cost_micro_usd, created_at)"
        f" SELECT gen_random_uuid()::text, $1, $2, $3, $4, 7, now() - interval '{age}' - n * interval '1 second'"
        " FROM generate_series(1, $5::int) AS n",
        member.tenant_id, member.id, age, status, count,
    )  # fmt: skip


async def keep(client: httpx.AsyncClient, tenant: Tenant, days: int | None) -> None:
    answer = await client.patch(
        f"/tenants/{tenant.id}", json={"message_retention_days": days}, headers=tenant.admin.headers
    )
    assert answer.status_code == 200, answer.text


@pytest_asyncio.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(HeldProvider()) as (_, client):
        yield client


@pytest_asyncio.fixture
async def database(database_url: URL) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=4)
    yield database
    await database.close()


async def test_what_is_too_old_goes_and_nothing_else_of_nobody_else(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database, acme: Tenant, rival: Tenant
) -> None:
    """Another tenant's messages stay, and those of one that said nothing."""
    other = await make_tenant(client)
    for tenant in (acme, rival, other):
        await insert(superuser, tenant.user, "40 days")
        await insert(superuser, tenant.admin, "40 days 1 minute", status="failed")
        await insert(superuser, tenant.user, "41 days", status="pending")
        await insert(superuser, tenant.user, "29 days")
    await keep(client, acme, 30)
    await keep(client, rival, 50)
    before = (await client.get("/usage", headers=acme.admin.headers)).json()

    assert dict(await Retention(database, 30).delete_old()) == {acme.id: 2}
    assert await superuser.fetchval(LEFT, acme.id) == ["29 days", "41 days"]
    for tenant in (rival, other):
        assert await superuser.fetchval(LEFT, tenant.id) == ["29 days", "40 days", "40 days 1 minute", "41 days"]
    kept = "SELECT count(*), sum(cost_micro_usd)::int FROM deleted_usage WHERE tenant_id = $1"
    assert tuple(await superuser.fetchrow(kept, acme.id)) == (2, 14)
    assert (await client.get("/usage", headers=acme.admin.headers)).json() == before

    assert dict(await Retention(database, 30).delete_old()) == {acme.id: 0}, "the one that runs is old, and stays"
    await keep(client, acme, None)
    await keep(client, rival, None)
    await insert(superuser, acme.user, "40 days")
    assert dict(await Retention(database, 30).delete_old()) == {}


async def test_no_transaction_has_more_than_a_batch_and_each_tenant_has_its_turn(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database, acme: Tenant, rival: Tenant
) -> None:
    for tenant in (acme, rival):
        await insert(superuser, tenant.user, "3 days", count=25)
        await keep(client, tenant, 1)
    async with counting_deletions(superuser, acme):
        assert dict(await Retention(database, 30, batch_rows=10).delete_old()) == {acme.id: 25, rival.id: 25}
        rows = await superuser.fetch("SELECT sum(rows)::int FROM deletions GROUP BY transaction ORDER BY transaction")
    assert [row[0] for row in rows] == [10, 10, 5]


async def test_two_processes_do_not_delete_the_same_and_one_that_changed_its_mind_is_heard(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database, acme: Tenant
) -> None:
    await insert(superuser, acme.user, "3 days", count=25)
    await keep(client, acme, 1)
    async with stopped_at(superuser, acme, 15):
        first = asyncio.create_task(Retention(database, 30, batch_rows=10).delete_old())
        await until(lambda: superuser.fetchval(WAITING, A_LOCK), "the first to come to its second batch")
        assert dict(await Retention(database, 30, batch_rows=10).delete_old()) == {acme.id: 0}
        await keep(client, acme, None)
    assert dict(await first) == {acme.id: 20}, "the batch that was under way, and none after it"
    assert await superuser.fetchval("SELECT count(*) FROM deleted_usage WHERE tenant_id = $1", acme.id) == 20
    assert await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id) == 5


async def test_a_tenant_whose_deletion_fails_keeps_no_other_from_theirs(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database, acme: Tenant, rival: Tenant
) -> None:
    for tenant in (acme, rival):
        await insert(superuser, tenant.user, "3 days")
        await keep(client, tenant, 1)
    await superuser.execute(
        f"ALTER TABLE deleted_usage ADD CONSTRAINT breaks CHECK (tenant_id <> '{acme.id}') NOT VALID"
    )
    try:
        with pytest.raises(Exception, match="breaks"):
            await Retention(database, 30).delete_old()
    finally:
        await superuser.execute("ALTER TABLE deleted_usage DROP CONSTRAINT breaks")
    assert await superuser.fetchval(LEFT, acme.id) == ["3 days"]
    assert await superuser.fetchval(LEFT, rival.id) is None
    assert dict(await Retention(database, 30).delete_old()) == {acme.id: 1}


async def test_a_process_does_it_beside_its_requests(serve: Serve, superuser: asyncpg.Connection, acme: Tenant) -> None:
    await superuser.execute("UPDATE tenants SET message_retention_days = 2 WHERE id = $1", acme.id)
    await insert(superuser, acme.user, "3 days")
    async with serve(HeldProvider(), background_work=True) as (_, client):

        async def gone() -> bool:
            return await superuser.fetchval(LEFT, acme.id) is None

        await until(gone, "the loop to delete it")
        assert (await client.get("/messages", headers=acme.user.headers)).json() == []
