"""Erasing a large tenant: in pieces that each have time, and to the end although a process is killed in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.core.ids import new_id
from app.db import session
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.server import running
from tests.committed.test_crash import until
from tests.committed.test_erasure import assert_nothing_left, erase, fingerprint
from tests.helpers import Tenant, make_tenant


@asynccontextmanager
async def slow_deletion(superuser: asyncpg.Connection, tenant: Tenant, cost: str) -> AsyncIterator[None]:
    """Each deleted message of the tenant costs the database what `SELECT <cost>` does."""
    await superuser.execute(
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f"  PERFORM {cost}; RETURN OLD; END $$;"
        "CREATE TRIGGER slow BEFORE DELETE ON messages FOR EACH ROW"
        f" WHEN (OLD.tenant_id = '{tenant.id}') EXECUTE FUNCTION take_time()"
    )
    try:
        yield
    finally:
        await superuser.execute("DROP TRIGGER slow ON messages; DROP FUNCTION take_time()")


async def insert_messages(superuser: asyncpg.Connection, tenant: Tenant, count: int) -> None:
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, content, response, status)"
        " SELECT gen_random_uuid()::text, $1::text, $2::text, 'Hello', 'An answer', 'completed'"
        " FROM generate_series(1, $3::int)",
        tenant.id,
        tenant.user.id,
        count,
    )


async def test_a_large_tenant_is_erased_although_no_statement_has_time_for_all_of_it(
    serve: Serve, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A millisecond a row: six seconds and more in all, one for a batch, on however busy a machine.
    monkeypatch.setattr(session, "COMMAND_TIMEOUT_SECONDS", 5)
    async with serve(HeldProvider()) as (_, client):
        acme = await make_tenant(client)
        await insert_messages(superuser, acme, 6_000)
        async with slow_deletion(superuser, acme, "pg_sleep(0.001)"):
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert (await erase(client, acme)).status_code == 204
            assert loop.time() - began > session.COMMAND_TIMEOUT_SECONDS, "one statement could have done it"
    await assert_nothing_left(superuser, acme.id)


async def test_what_a_killed_process_left_half_erased_is_finished_by_the_next(
    tmp_path: Path, database_url: URL, superuser: asyncpg.Connection
) -> None:
    settings = {"database_url": database_url.render_as_string(hide_password=False), "secret_key": new_id() * 2}

    async def messages_left() -> int:
        return int(await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id))

    async with running(tmp_path, **settings) as server, server.client() as client:
        acme, rival = await make_tenant(client), await make_tenant(client)
        await insert_messages(superuser, acme, 20_000)
        await insert_messages(superuser, rival, 100)
        before = await fingerprint(superuser, rival.id)
        async with slow_deletion(superuser, acme, "count(*) FROM generate_series(1, 1000)"):
            erasing = asyncio.create_task(erase(client, acme))

            async def begun() -> bool:
                return await messages_left() < 20_000

            await until(begun)
            server.kill()
            assert isinstance((await asyncio.gather(erasing, return_exceptions=True))[0], httpx.TransportError)
            # The transaction that the kill caught is not over before the server side of it is.
            await until(no_other_sessions(superuser))
    assert 0 < await messages_left() < 20_000
    await superuser.execute("UPDATE tenants SET erasing_at = now() - interval '2 minutes' WHERE id = $1", acme.id)

    async with running(tmp_path, **settings) as server, server.client() as client:
        assert (await erase(client, acme)).status_code == 401  # there is no need to repeat it

        async def gone() -> bool:
            return not await superuser.fetchval("SELECT count(*) FROM tenants WHERE id = $1", acme.id)

        await until(gone)
    await assert_nothing_left(superuser, acme.id)
    assert await fingerprint(superuser, rival.id) == before


def no_other_sessions(superuser: asyncpg.Connection) -> Any:
    async def none() -> bool:
        busy = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> $1"
        )
        return not await superuser.fetchval(busy, superuser.get_server_pid())

    return none
