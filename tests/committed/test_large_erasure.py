"""Erasing a large tenant: in pieces that each have time, and to the end although a process is killed in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
from sqlalchemy import URL

from app.core.ids import new_id
from app.services.erase_service import BATCH_ROWS
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.server import running
from tests.committed.test_erasure import assert_nothing_left, erase, fingerprint
from tests.helpers import Tenant, make_tenant
from tests.waiting import until

A_LOCK = 20261126
# In this database: the server has others, in which other tests wait for the same one.
WAITING = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def insert_messages(superuser: asyncpg.Connection, tenant: Tenant, count: int) -> None:
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, content, response, status)"
        " SELECT gen_random_uuid()::text, $1::text, $2::text, 'Hello', 'An answer', 'completed'"
        " FROM generate_series(1, $3::int)",
        tenant.id,
        tenant.user.id,
        count,
    )


@asynccontextmanager
async def counting_deletions(superuser: asyncpg.Connection, tenant: Tenant) -> AsyncIterator[None]:
    """`deletions` gets the transaction and the number of rows of each statement that deletes messages of the tenant."""
    await superuser.execute(
        "CREATE TABLE deletions (transaction xid8, rows bigint);"
        "CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        "  INSERT INTO deletions SELECT pg_current_xact_id(), count(*) FROM gone"
        f"   WHERE tenant_id = '{tenant.id}' HAVING count(*) > 0; RETURN NULL; END $$;"
        "CREATE TRIGGER noted AFTER DELETE ON messages REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION note_deletion()"
    )
    try:
        yield
    finally:
        await superuser.execute("DROP TRIGGER noted ON messages; DROP FUNCTION note_deletion(); DROP TABLE deletions")


async def test_no_transaction_of_an_erasure_has_more_than_a_batch_to_do(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(HeldProvider()) as (_, client):
        acme = await make_tenant(client)
        await insert_messages(superuser, acme, 3 * BATCH_ROWS)
        async with counting_deletions(superuser, acme):
            assert (await erase(client, acme)).status_code == 204
            rows = await superuser.fetch("SELECT sum(rows)::int FROM deletions GROUP BY transaction")
    assert [row[0] for row in rows] == [BATCH_ROWS] * 3
    await assert_nothing_left(superuser, acme.id)


@asynccontextmanager
async def stopped_at(superuser: asyncpg.Connection, tenant: Tenant, number: int) -> AsyncIterator[None]:
    """Who deletes the tenant's messages, the oldest first, waits at this one until the block ends."""
    row = await superuser.fetchval(
        "SELECT id FROM messages WHERE tenant_id = $1 ORDER BY created_at, id OFFSET $2 LIMIT 1", tenant.id, number
    )
    await superuser.execute(
        "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f"  PERFORM pg_advisory_xact_lock({A_LOCK}); RETURN OLD; END $$;"
        f"CREATE TRIGGER waits BEFORE DELETE ON messages FOR EACH ROW WHEN (OLD.id = '{row}')"
        " EXECUTE FUNCTION wait_here()"
    )
    await superuser.execute(f"SELECT pg_advisory_lock({A_LOCK})")
    try:
        yield
    finally:
        await superuser.execute(f"SELECT pg_advisory_unlock({A_LOCK})")
        # Not before the transaction that waited is over, which holds the table.
        await superuser.execute("DROP TRIGGER waits ON messages; DROP FUNCTION wait_here()")


async def test_what_a_killed_process_left_half_erased_is_finished_by_the_next(
    tmp_path: Path, database_url: URL, superuser: asyncpg.Connection, serve: Serve
) -> None:
    settings = {"database_url": database_url.render_as_string(hide_password=False), "secret_key": new_id() * 2}

    async def messages_left() -> int:
        return int(await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id))

    async with running(tmp_path, **settings) as server, server.client() as client:
        acme, rival = await make_tenant(client), await make_tenant(client)
        await insert_messages(superuser, acme, 2 * BATCH_ROWS)
        await insert_messages(superuser, rival, 100)
        before = await fingerprint(superuser, rival.id)
        async with stopped_at(superuser, acme, BATCH_ROWS + BATCH_ROWS // 2):
            erasing = asyncio.create_task(erase(client, acme))

            async def begun() -> bool:
                assert not erasing.done(), f"it was not to end: {erasing.result()} {erasing.result().text}"
                return bool(await superuser.fetchval(WAITING, A_LOCK))

            await until(begun, "the erasure to come to its second batch")
            server.kill()
            assert isinstance((await asyncio.gather(erasing, return_exceptions=True))[0], httpx.TransportError)
    assert await messages_left() == BATCH_ROWS
    await superuser.execute("UPDATE tenants SET erasing_at = now() - interval '2 minutes' WHERE id = $1", acme.id)

    async with serve(HeldProvider(), background_work=True) as (_, client):

        async def gone() -> bool:
            return not await superuser.fetchval("SELECT count(*) FROM tenants WHERE id = $1", acme.id)

        await until(gone, "the next process to finish the erasure")
    await assert_nothing_left(superuser, acme.id)
    assert await fingerprint(superuser, rival.id) == before
