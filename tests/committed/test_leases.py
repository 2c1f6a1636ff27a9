"""Leases: who lives renews them, who was suspended finds out, and a database that was away ends nobody's messages."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from app.core.errors import DatabaseUnavailable
from app.db.session import Database
from app.messages.sweeper import Sweeper
from tests.committed.conftest import Serve, rows_of
from tests.committed.held import FIRST, held_server
from tests.committed.providers import HeldProvider
from tests.committed.server import running
from tests.committed.test_budgets import PAID
from tests.conftest import SECRET_KEY, dsn
from tests.helpers import Tenant, make_tenant
from tests.own_database import OwnDatabase, own_database
from tests.waiting import until, within_patience

LEASE = 1.0
BACKGROUND = {"content": "some words", "background": True}
PENDING = (
    "INSERT INTO messages (id, content, user_id, tenant_id, lease_expires_at) "
    "VALUES (gen_random_uuid()::text, 'x', $1, $2, now() - interval '1 s')"
)


@pytest.fixture
async def own(template_url: URL) -> AsyncIterator[OwnDatabase]:
    async with own_database(template_url) as database:
        yield database


async def lease_of(superuser: asyncpg.Connection, tenant: Tenant) -> float:
    """Seconds that are left of it."""
    left: float = await superuser.fetchval(
        "SELECT extract(epoch FROM lease_expires_at - clock_timestamp())::float FROM messages WHERE tenant_id = $1",
        tenant.id,
    )
    return left


async def test_a_message_that_takes_longer_than_its_lease_is_answered_once(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, message_lease_seconds=LEASE, background_work=True) as (app, client):
        acme = await make_tenant(client)
        await client.post("/messages", json=BACKGROUND, headers=acme.user.headers)
        (begun,) = await rows_of(superuser, acme)

        async def outlived() -> bool:
            (row,) = await rows_of(superuser, acme)
            assert row["status"] == "pending"
            return bool(row["lease_expires_at"] > begun["lease_expires_at"] + timedelta(seconds=2 * LEASE))

        await until(outlived, "a third lease")
        provider.release.set()
        await app.state.container.engine.drain(10)
        assert app.state.container.engine.leases_lost == 0
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["lease_expires_at"], provider.calls) == ("completed", None, 1)


async def test_a_suspended_process_neither_overwrites_nor_charges_what_was_taken_over(
    tmp_path: Path, database_url: URL, serve: Serve, superuser: asyncpg.Connection
) -> None:
    settings = {
        "database_url": database_url.render_as_string(hide_password=False),
        "secret_key": SECRET_KEY,
        "message_lease_seconds": str(LEASE),
        "background_work": "false",
    }
    second = HeldProvider()
    async with (
        held_server() as first,
        running(tmp_path, **settings, **first.settings) as server,
        server.client() as client,
        serve(second, background_work=True, message_lease_seconds=LEASE, **PAID) as (app, other),
    ):
        acme = await make_tenant(client)
        await client.put("/admin/budget", json={"limit_micro_usd": 10**6}, headers=acme.admin.headers)
        send = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await until(lambda: first.asked, "the call")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:

            async def taken_over() -> bool:
                return (await rows_of(superuser, acme))[0]["status"] == "failed"

            await until(taken_over, "the sweep")
            (message,) = await rows_of(superuser, acme)
            path = f"/messages/{message['id']}/retry"
            assert (await other.post(path, json={"background": True}, headers=acme.user.headers)).status_code == 202
            await second.wait_for_calls(1)
            first.release.set()  # the paid answer of the first run is there when it wakes up
        finally:
            server.process.send_signal(signal.SIGCONT)
        answer = await within_patience(send, "the answer of the process that was suspended")
        assert (answer.status_code, answer.json()["message_id"]) == (503, message["id"])
        (row,) = await rows_of(superuser, acme)
        assert (row["status"], row["attempts"], row["response"], row["cost_micro_usd"]) == ("pending", 2, "", None)
        second.release.set()
        await app.state.container.engine.drain(10)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["attempts"]) == ("completed", 2)
    assert FIRST not in row["response"]
    spent = await superuser.fetchrow(
        "SELECT spent_micro_usd, reserved_micro_usd FROM budgets WHERE tenant_id = $1", acme.id
    )
    assert row["cost_micro_usd"] > 0
    assert tuple(spent) == (row["cost_micro_usd"], 0)


async def test_a_database_that_comes_back_ends_nothing_before_who_lives_could_renew(
    serve: Serve, own: OwnDatabase
) -> None:
    superuser = await asyncpg.connect(dsn(own.url))
    async with serve(HeldProvider(), database_url=own.text) as (app, client):
        database: Database = app.state.container.database
        acme = await make_tenant(client)
        await superuser.execute(PENDING, acme.user.id, acme.id)
        await superuser.close()
        sweeper = Sweeper(database, LEASE)
        for _ in range(2):
            assert await sweeper.look() == 0  # a lease has not gone by since it first reached the database
        await until(sweeper.look, "the sweep")
        superuser = await asyncpg.connect(dsn(own.url))
        await superuser.execute(PENDING, acme.user.id, acme.id)
        await superuser.close()

        await own.set("ALLOW_CONNECTIONS false")
        await own.end_sessions()
        away = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < away + LEASE:
            with pytest.raises(DatabaseUnavailable):
                await sweeper.look()
        await own.set("ALLOW_CONNECTIONS true")

        assert await sweeper.look() == 0
        await until(sweeper.look, "the sweep")
        assert sweeper.taken_over == 2


async def test_a_message_outlives_a_database_that_was_away_for_longer_than_its_lease(
    serve: Serve, own: OwnDatabase
) -> None:
    provider = HeldProvider()
    short = {"database_url": own.text, "message_lease_seconds": LEASE}
    async with (
        serve(provider, **short) as (_, client),
        serve(HeldProvider(), **short, background_work=True) as (other, _),
    ):
        acme = await make_tenant(client)
        sending = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        await own.set("ALLOW_CONNECTIONS false")
        await own.end_sessions()
        await asyncio.sleep(1.5 * LEASE)  # what is waited for is time: nobody can ask the database
        await own.set("ALLOW_CONNECTIONS true")
        superuser = await asyncpg.connect(dsn(own.url))

        async def renewed() -> bool:
            return await lease_of(superuser, acme) > 0

        await until(renewed, "the renewal")
        await superuser.execute(PENDING, acme.user.id, acme.id)
        await until(lambda: other.state.container.sweeper.taken_over, "a sweep that ends what is abandoned")
        await superuser.close()
        provider.release.set()
        answer = await within_patience(sending, "the answer")
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert other.state.container.sweeper.taken_over == 1


async def test_what_hangs_beyond_its_time_is_renewed_no_more(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    changes = {"message_lease_seconds": LEASE, "message_timeout_seconds": 1.2 * LEASE, "background_work": True}
    async with serve(provider, **changes) as (app, client):
        acme = await make_tenant(client)
        answer = await within_patience(
            client.post("/messages", json={"content": "x"}, headers=acme.user.headers), "the end"
        )
    assert (answer.status_code, provider.cancelled) == (503, 1)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["error_code"]) == ("failed", "interrupted")
    assert app.state.container.engine.leases_lost == 1


async def test_a_renewal_touches_the_runs_of_its_process_alone_and_waits_for_nobody(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL
) -> None:
    provider = HeldProvider()
    async with serve(provider, message_lease_seconds=3600) as (app, client):
        engine = app.state.container.engine
        acme, rival = await make_tenant(client), await make_tenant(client)
        for tenant in (acme, rival, rival):
            await client.post("/messages", json=BACKGROUND, headers=tenant.user.headers)
        await provider.wait_for_calls(3)
        for run in engine._running.values():
            run.started -= 3600 / 2  # not long enough for the limit
        engine.leases._limit = 3600
        await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE status = 'pending'")
        run_anew, locked = (row["id"] for row in await rows_of(superuser, rival))
        await superuser.execute("UPDATE messages SET attempts = 2 WHERE id = $1", run_anew)
        holder = await asyncpg.connect(dsn(database_url))
        async with holder.transaction():
            await holder.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", locked)
            await within_patience(engine.leases.renew(), "a renewal that waits for nobody")
        await holder.close()
        assert await lease_of(superuser, acme) > 3000
        over = await superuser.fetchval(
            "SELECT count(*) FROM messages WHERE tenant_id = $1 AND lease_expires_at <= now()", rival.id
        )
        assert over == 2
        await superuser.execute("UPDATE messages SET attempts = 1 WHERE id = $1", run_anew)
        provider.release.set()
