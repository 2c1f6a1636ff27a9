"""What happens to a message when two things happen to it at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.core.errors import ShuttingDown
from app.messages.sweeper import sweep
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest, sending, text_of
from tests.conftest import dsn
from tests.helpers import Tenant, make_tenant
from tests.waiting import until, within_patience

BACKGROUND = {"content": "x", "background": True}


@asynccontextmanager
async def holding(url: URL, sql: str, *values: Any) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that has run this statement and keeps its locks until the block ends; then it commits."""
    connection = await asyncpg.connect(dsn(url))
    try:
        async with connection.transaction():
            await connection.execute(sql, *values)
            yield connection
    finally:
        await connection.close()


async def somebody_waits(superuser: asyncpg.Connection) -> None:
    """Return once a statement of this database waits for a lock; there is no event for it."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    await until(lambda: superuser.fetchval(query), "a statement that waits for a lock")


async def lease_over(app: FastAPI, superuser: asyncpg.Connection, tenant: Tenant) -> None:
    """The messages of the tenant are ended by the sweep although their process lives: it was suspended, say."""
    await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE tenant_id = $1", tenant.id)
    assert await sweep(app.state.container.database) >= 1


async def test_a_retry_in_the_process_that_still_runs_the_swept_message_replaces_that_run(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with listen(provider) as (app, client):
        engine = app.state.container.engine
        acme = await make_tenant(client)
        sent = (await client.post("/messages", json=BACKGROUND, headers=acme.user.headers)).json()
        await provider.wait_for_calls(1)
        first = engine.find(sent["id"], 1)
        await lease_over(app, superuser, acme)
        retried = await client.post(
            f"/messages/{sent['id']}/retry", json={"background": True}, headers=acme.user.headers
        )
        assert retried.status_code == 202
        await within_patience(
            asyncio.shield(first.ended), "the end of the first run"
        )  # its call is stopped: nobody reads that answer
        assert provider.cancelled == 1
        second = engine.find(sent["id"], 2)
        assert second is not None
        await provider.wait_for_calls(2)
        await engine._deltas.write(look_at_all=True)
        provider.release.set()
        row = await within_patience(asyncio.shield(second.ended), "the end of the second run")
        await asyncio.gather(second.task)
        assert (row.status, row.attempts) == ("completed", 2)
        assert not engine._running
        assert not engine._tenants


async def test_what_stops_one_run_does_not_stop_the_next(serve: Serve, superuser: asyncpg.Connection) -> None:
    """A notification of the first run's cancelling may come late, when the message is being answered again."""
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        sent = (await client.post("/messages", json=BACKGROUND, headers=acme.user.headers)).json()
        await provider.wait_for_calls(1)
        signals, engine = app.state.container.signals, app.state.container.engine
        signals._heard(f"cancel 0 {sent['id']}")
        assert not engine.find(sent["id"], 1).cancelled
        signals._heard(f"cancel 1 {sent['id']}")
        row = await within_patience(asyncio.shield(engine.find(sent["id"], 1).ended), "the end of the run")
    assert row.status == "cancelled"
    assert provider.cancelled == 1


async def test_a_message_that_is_cancelled_before_its_run_began_ends(
    serve: Serve, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        engine = app.state.container.engine
        acme = await make_tenant(client)
        start = engine.start

        def start_and_cancel(row: Any, *args: Any, **options: Any) -> Any:
            generation = start(row, *args, **options)
            engine.cancel(row.id, row.attempts)
            return generation

        monkeypatch.setattr(engine, "start", start_and_cancel)
        send = client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        answer = await within_patience(send, "the answer")
        assert (answer.status_code, answer.json()["status"]) == (201, "cancelled")
        assert not engine._running


async def test_a_shutdown_waits_for_a_prompt_that_is_being_stored(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider) as (app, client):
        engine = app.state.container.engine
        acme = await make_tenant(client)
        lock = "SELECT FROM users WHERE id = $1 FOR UPDATE"
        async with holding(database_url, lock, acme.user.id):
            send = asyncio.create_task(client.post("/messages", json=BACKGROUND, headers=acme.user.headers))
            await somebody_waits(superuser)
            drain = asyncio.create_task(engine.drain(10))
            await until(lambda: engine.closed, "the drain to begin")
            with pytest.raises(ShuttingDown):
                engine.admit(acme.id)
        assert (await send).status_code == 202
        await drain
        (row,) = await rows_of(superuser, acme)
        assert row["status"] == "completed"


async def test_a_late_end_of_an_old_run_leaves_the_text_of_the_new_one_alone(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    slow, fast = HeldProvider(), HeldProvider()
    async with listen(slow) as (old, first), listen(fast) as (new, second), listen(HeldProvider()) as (_, reader):
        acme = await make_tenant(first)
        async with sending(first, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await slow.wait_for_calls(1)
            slow.say("old text")
            await old.state.container.engine._deltas.write(look_at_all=True)
            run = old.state.container.engine.find(message_id, 1)
            await lease_over(new, superuser, acme)
            url = f"/messages/{message_id}/retry"
            assert (await second.post(url, json={"background": True}, headers=acme.user.headers)).status_code == 202
            await fast.wait_for_calls(1)
            fast.say("the new ")
            await new.state.container.engine._deltas.write(look_at_all=True)
            slow.release.set()
            await run.ended
            fast.say("text")
            await new.state.container.engine._deltas.write(look_at_all=True)
            async with following(reader, message_id, acme.user.headers) as follower:
                await anext(follower)
                seen = [await anext(follower), await anext(follower)]
                fast.release.set()
                seen += await rest(follower)
            await rest(events)
    assert text_of(seen) == "the new text"
    assert seen[-1].name == "completed"
    assert await superuser.fetchval("SELECT count(*) FROM message_deltas WHERE tenant_id = $1", acme.id) == 0


async def test_text_whose_writing_was_not_confirmed_is_written_again(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    """The connection may be lost after the commit: then nobody knows whether the text is there."""
    provider = HeldProvider()
    async with listen(provider) as (app, here), listen(HeldProvider()) as (_, there):
        deltas = app.state.container.engine._deltas
        acme = await make_tenant(here)
        async with sending(here, acme.user.headers) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            generation = app.state.container.engine.find(message_id, 1)
            provider.say("so ")
            await deltas.write(look_at_all=True)
            generation.flushed = 0
            provider.say("far")
            await deltas.write(look_at_all=True)
            assert generation.flushed == 6
            async with following(there, message_id, acme.user.headers) as follower:
                await anext(follower)
                assert (await anext(follower)).data["text"] == "so far"
            provider.release.set()
            await rest(events)


async def test_deleting_a_message_that_is_retried_meanwhile_is_refused(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        sent = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        message_id = sent.json()["id"]
        retry = "UPDATE messages SET status = 'pending', attempts = 2, lease_expires_at = now() + '1 h' WHERE id = $1"
        async with holding(database_url, retry, message_id):
            delete = asyncio.create_task(client.delete(f"/messages/{message_id}", headers=acme.user.headers))
            await somebody_waits(superuser)
        assert_problem(await delete, 409)
    assert len(await rows_of(superuser, acme)) == 1


async def test_the_end_of_a_first_run_is_not_the_end_of_the_second(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        sent = (await client.post("/messages", json=BACKGROUND, headers=acme.user.headers)).json()
        await provider.wait_for_calls(1)
        await client.post(f"/messages/{sent['id']}/cancel", headers=acme.user.headers)
        url = f"/messages/{sent['id']}/retry"
        assert (await client.post(url, json={"background": True}, headers=acme.user.headers)).status_code == 202
        async with following(client, sent["id"], acme.user.headers, "1-end") as events:
            await provider.wait_for_calls(2)
            provider.say("again")
            provider.release.set()
            seen = await rest(events)
    assert [event.name for event in seen] == ["message", "delta", "completed"]


async def test_a_cancelling_from_another_process_is_answered_at_once_also_without_a_stream(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.messages.signals.LOOK_SECONDS", 3600)
    provider = HeldProvider()
    async with serve(provider) as (_, here), serve(HeldProvider()) as (_, there):
        acme = await make_tenant(here)
        send = asyncio.create_task(here.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        (listed,) = (await here.get("/messages", headers=acme.user.headers)).json()
        answer = await there.post(f"/messages/{listed['id']}/cancel", headers=acme.user.headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert (await send).status_code == 201


async def test_a_budget_for_a_user_who_is_being_deleted_is_not_found(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL
) -> None:
    async with serve(HeldProvider()) as (_, client):
        acme = await make_tenant(client)
        async with holding(database_url, "DELETE FROM users WHERE id = $1", acme.user.id):
            path = f"/admin/users/{acme.user.id}/budget"
            put = asyncio.create_task(client.put(path, json={"limit_micro_usd": 1}, headers=acme.admin.headers))
            await somebody_waits(superuser)
        assert_problem(await put, 404)


async def test_the_text_of_a_deleted_user_goes_also_where_its_process_is_dead(
    client: Any, superuser: asyncpg.Connection
) -> None:
    acme = await make_tenant(client)
    await superuser.execute(
        "INSERT INTO messages (id, content, user_id, tenant_id, lease_expires_at) "
        "VALUES ('dead', 'x', $1, $2, now() + '1 h')",
        acme.user.id,
        acme.id,
    )
    await superuser.execute("INSERT INTO message_deltas VALUES ($1, 'dead', 1, 0, 'private')", acme.id)
    await superuser.execute("DELETE FROM users WHERE id = $1", acme.user.id)
    assert await superuser.fetchval("SELECT count(*) FROM message_deltas WHERE tenant_id = $1", acme.id) == 0
