"""Reserve, call, settle: what is stored when, and what is held meanwhile."""

import asyncio
from datetime import timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.llm.base import Call, Completion
from app.messages.sweeper import sweep
from tests.committed.conftest import Serve, all_given_back, rows_of
from tests.committed.providers import FailingProvider, HeldProvider
from tests.helpers import Tenant, make_tenant


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProviderError, 502, "provider_error"),
        (ProviderRejected, 502, "provider_rejected"),
        (ProviderUnavailable, 503, "provider_unavailable"),
        (ProviderTimeout, 504, "provider_timeout"),
    ],
)
async def test_a_failed_message_is_kept_with_its_prompt(
    serve: Serve, superuser: asyncpg.Connection, error: type[ProviderError], status: int, code: str
) -> None:
    async with serve(FailingProvider(error())) as (_, client):
        acme = await make_tenant(client)
        answer = await client.post("/messages", json={"content": "keep me"}, headers=acme.user.headers)
        listed = (await client.get("/messages", headers=acme.user.headers)).json()

    assert answer.status_code == status
    problem = answer.json()
    assert problem["type"] == f"urn:llm-saas:problem:{code.replace('_', '-')}"
    assert "keep me" not in answer.text
    (row,) = await rows_of(superuser, acme)
    assert problem["message_id"] == row["id"]
    assert (row["content"], row["status"], row["error_code"], row["response"]) == ("keep me", "failed", code, "")
    assert row["lease_expires_at"] is None
    assert [(item["id"], item["status"]) for item in listed] == [(row["id"], "failed")]


async def test_no_connection_is_held_while_the_provider_is_awaited(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        async with asyncio.TaskGroup() as tasks:
            sends = [
                tasks.create_task(client.post("/messages", json={"content": str(n)}, headers=acme.user.headers))
                for n in range(50)
            ]
            await provider.wait_for_calls(50)

            await all_given_back(app)
            assert {row["status"] for row in await rows_of(superuser, acme)} == {"pending"}
            in_transaction = await superuser.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state LIKE 'idle in transaction%'"
            )
            assert in_transaction == 0
            assert (await client.get("/me", headers=acme.user.headers)).status_code == 200
            provider.release.set()

    assert {send.result().status_code for send in sends} == {201}
    rows = await rows_of(superuser, acme)
    assert {row["status"] for row in rows} == {"completed"}
    assert all(row["response"] == f"answer to {row['content']}" for row in rows)


async def test_a_request_that_is_cancelled_leaves_a_message_that_is_answered(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        task = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await all_given_back(app)
        (row,) = await rows_of(superuser, acme)
        assert row["status"] == "pending"
        provider.release.set()
        await app.state.container.engine.drain(10)

    (row,) = await rows_of(superuser, acme)
    assert (row["content"], row["status"], row["response"]) == ("x", "completed", "answer to x")


async def test_a_shutdown_that_does_not_wait_leaves_a_failed_message(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        task = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        await app.state.container.engine.drain(0)
        assert (await task).status_code == 503
        refused = await client.post("/messages", json={"content": "y"}, headers=acme.user.headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")

    (row,) = await rows_of(superuser, acme)
    assert (row["content"], row["status"], row["error_code"]) == ("x", "failed", "interrupted")


@pytest.mark.parametrize("change", ["role = 'admin'", "token_version = 7"])
async def test_an_answer_is_stored_for_a_user_who_lost_access_meanwhile(
    serve: Serve, superuser: asyncpg.Connection, change: str
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        task = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        await superuser.execute(f"UPDATE users SET {change} WHERE id = $1", acme.user.id)
        provider.release.set()
        assert (await task).status_code == 201
        assert (await client.get("/me", headers=acme.user.headers)).status_code == 401

    (row,) = await rows_of(superuser, acme)
    assert row["status"] == "completed"


async def test_a_user_deleted_during_the_call_gets_a_problem_and_leaves_nothing(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        task = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        await superuser.execute("DELETE FROM users WHERE id = $1", acme.user.id)
        provider.release.set()
        assert (await task).status_code == 503

    assert await rows_of(superuser, acme) == []


async def test_a_failing_commit_is_never_answered_with_success(
    serve: Serve, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    """A deferred constraint fails at COMMIT, the last moment there is."""
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.content = 'fails at commit' THEN RAISE 'refused'; END IF; RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    provider = HeldProvider()
    provider.release.set()
    try:
        async with serve(provider) as (_, client):
            answer = await client.post("/messages", json={"content": "fails at commit"}, headers=acme.user.headers)
    finally:
        await superuser.execute("DROP TRIGGER refuse ON messages; DROP FUNCTION refuse()")

    assert answer.status_code == 500
    assert provider.calls == 0  # nothing is spent on a prompt that is not stored
    assert await rows_of(superuser, acme) == []


async def test_the_sweep_ends_abandoned_messages_of_every_tenant_and_no_other(
    client: httpx.AsyncClient, app: FastAPI, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    insert = (
        "INSERT INTO messages (id, content, user_id, tenant_id, status, lease_expires_at) "
        "VALUES (gen_random_uuid()::text, $4, $1, $2, $3, now() + $5::interval) RETURNING id"
    )
    past, future = timedelta(seconds=-1), timedelta(hours=1)
    for tenant in (acme, rival):
        await superuser.fetchval(insert, tenant.user.id, tenant.id, "pending", "abandoned", past)
        await superuser.fetchval(insert, tenant.user.id, tenant.id, "pending", "running", future)
        await superuser.fetchval(insert, tenant.user.id, tenant.id, "completed", "done", past)

    assert await sweep(app.state.container.database) >= 2

    for tenant in (acme, rival):
        ends = {row["content"]: (row["status"], row["error_code"]) for row in await rows_of(superuser, tenant)}
        assert ends == {
            "abandoned": ("failed", "interrupted"),
            "running": ("pending", None),
            "done": ("completed", None),
        }


async def test_an_answer_that_comes_after_the_sweep_is_a_problem_not_a_second_end(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        task = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE tenant_id = $1", acme.id)
        await sweep(app.state.container.database)
        provider.release.set()
        answer = await task

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:llm-saas:problem:message-interrupted"
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["error_code"], row["response"]) == ("failed", "interrupted", "")


async def test_an_answer_with_characters_that_postgresql_cannot_store_is_stored_without_them(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()

    async def odd(call: Call) -> Completion:
        return Completion("a\x00b\ud800c", "m" * 400, None, None)

    provider.complete = odd
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        answer = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)

    assert answer.status_code == 201, answer.text
    assert answer.json()["response"] == "a\ufffdb\ufffdc"
