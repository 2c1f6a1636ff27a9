"""Deleting a user or a conversation with many messages: in pieces that each have time, and gone from the first one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.core.ids import new_id
from app.db.batches import BATCH_ROWS
from tests.api.test_api_keys import bearer, make_key
from tests.api.test_user_admin import second_admin
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.server import running
from tests.committed.test_large_erasure import A_LOCK, WAITING, counting_deletions, stopped_at
from tests.helpers import Member, Tenant, join, log_in, make_tenant
from tests.sessions import actions_of
from tests.waiting import until

MANY = 2 * BATCH_ROWS + 500
LEFT = "SELECT count(*) FROM messages WHERE tenant_id = $1"
KEPT = "SELECT count(*), sum(cost_micro_usd)::int FROM deleted_usage WHERE tenant_id = $1"
KINDS = pytest.mark.parametrize("kind", ["user", "conversation"])


@dataclass(frozen=True)
class Large:
    """A member with a conversation that the admin takes part in, and what is to be deleted of it."""

    tenant: Tenant
    member: Member
    conversation: str
    path: str
    action: str


async def insert_messages(
    superuser: asyncpg.Connection, member: Member, count: int, conversation: str | None = None
) -> None:
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, conversation_id, content, response, status, cost_micro_usd)"
        " SELECT gen_random_uuid()::text, $1::text, $2::text, $3::text, 'Hello', 'An answer', 'completed', 7"
        " FROM generate_series(1, $4::int)",
        member.tenant_id, member.id, conversation, count,
    )  # fmt: skip


async def make_large(client: httpx.AsyncClient, superuser: asyncpg.Connection, kind: str) -> Large:
    """`MANY` messages: a conversation's, or half of them in it, by an admin."""
    tenant = await make_tenant(client)
    member = await join(client, tenant.id)
    talk = (await client.post("/conversations", json={}, headers=member.headers)).json()["id"]
    if kind == "conversation":
        await insert_messages(superuser, member, MANY, talk)
        return Large(tenant, member, talk, f"/conversations/{talk}", "conversation.deleted")
    await insert_messages(superuser, member, MANY // 2)
    await insert_messages(superuser, tenant.admin, MANY // 2, talk)
    return Large(tenant, member, talk, f"/admin/users/{member.id}", "user.deleted")


@asynccontextmanager
async def stopped_in_the_second_batch(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, large: Large
) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
    """The admin's deletion, while it waits there."""
    async with stopped_at(superuser, large.tenant, BATCH_ROWS + BATCH_ROWS // 8):
        deleting = asyncio.create_task(client.delete(large.path, headers=large.tenant.admin.headers))

        async def begun() -> bool:
            assert not deleting.done(), f"it was not to end: {deleting.result()} {deleting.result().text}"
            return bool(await superuser.fetchval(WAITING, A_LOCK))

        await until(begun, "the deletion to come to its second batch")
        yield deleting


@KINDS
async def test_no_transaction_of_a_deletion_has_more_than_a_batch_to_do(
    serve: Serve, superuser: asyncpg.Connection, kind: str
) -> None:
    async with serve(HeldProvider()) as (_, client):
        large = await make_large(client, superuser, kind)
        await insert_messages(superuser, large.tenant.user, 10)
        async with counting_deletions(superuser, large.tenant):
            assert (await client.delete(large.path, headers=large.tenant.admin.headers)).status_code == 204
            rows = [
                row[0] for row in await superuser.fetch("SELECT sum(rows)::int FROM deletions GROUP BY transaction")
            ]
    assert sum(rows) == MANY
    assert max(rows) <= BATCH_ROWS
    assert await superuser.fetchval(LEFT, large.tenant.id) == 10
    assert tuple(await superuser.fetchrow(KEPT, large.tenant.id)) == (MANY, 7 * MANY)
    assert not await superuser.fetchval("SELECT count(*) FROM conversations WHERE id = $1", large.conversation)
    users = await superuser.fetchval("SELECT count(*) FROM users WHERE id = $1", large.member.id)
    assert users == (0 if kind == "user" else 1)
    assert (await actions_of(superuser, large.tenant.id)).count(large.action) == 1


async def test_idempotency_keys_and_conversations_go_in_batches_too(
    serve: Serve, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    async with serve(HeldProvider()) as (_, client):
        member = await join(client, acme.id)
        await superuser.execute(
            "INSERT INTO idempotency_keys (tenant_id, user_id, key, request_hash, resource_id, expires_at)"
            " SELECT $1::text, $2::text, n::text, 'x', 'x', now() + interval '1 day' FROM generate_series(1, 2500) n",
            acme.id, member.id,
        )  # fmt: skip
        await superuser.execute(
            "INSERT INTO conversations (id, tenant_id, user_id)"
            " SELECT gen_random_uuid()::text, $1::text, $2::text FROM generate_series(1, 2500) AS n",
            acme.id, member.id,
        )  # fmt: skip
        assert (await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)).status_code == 204
    for table, column in (("idempotency_keys", "user_id"), ("conversations", "user_id"), ("users", "id")):
        assert not await superuser.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = $1", member.id), table


async def test_a_user_can_do_nothing_more_from_the_first_batch_on(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(HeldProvider(), db_pool_size=4) as (_, client):
        large = await make_large(client, superuser, "user")
        key = bearer((await make_key(client, large.member, ["messages:read"]))["key"])
        async with stopped_in_the_second_batch(client, superuser, large) as deleting:
            for headers in (large.member.headers, key):
                assert (await client.get("/messages", headers=headers)).status_code == 401
        assert (await deleting).status_code == 204


async def test_nobody_finds_a_conversation_from_the_first_batch_on(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(HeldProvider(), db_pool_size=4) as (_, client):
        large = await make_large(client, superuser, "conversation")
        async with stopped_in_the_second_batch(client, superuser, large) as deleting:
            for headers in (large.member.headers, large.tenant.admin.headers):
                assert (await client.get(large.path, headers=headers)).status_code == 404
                assert (await client.patch(large.path, json={"title": "x"}, headers=headers)).status_code == 404
                assert (await client.get("/conversations", headers=headers)).json() == []
                body = {"content": "Hello", "conversation_id": large.conversation}
                assert (await client.post("/messages", json=body, headers=headers)).status_code == 404
        assert (await deleting).status_code == 204


@KINDS
async def test_what_a_killed_process_left_is_deleted_by_the_same_request(
    tmp_path: Path, database_url: URL, superuser: asyncpg.Connection, serve: Serve, kind: str
) -> None:
    settings = {"database_url": database_url.render_as_string(hide_password=False), "secret_key": new_id() * 2}
    async with running(tmp_path, **settings) as server, server.client() as client:
        large = await make_large(client, superuser, kind)
        async with stopped_in_the_second_batch(client, superuser, large) as deleting:
            server.kill()
            assert isinstance((await asyncio.gather(deleting, return_exceptions=True))[0], httpx.TransportError)
    assert 0 < await superuser.fetchval(LEFT, large.tenant.id) < MANY

    async with serve(HeldProvider()) as (_, client):
        admin = await log_in(client, large.tenant.admin.email)
        assert (await client.delete(large.path, headers=admin.headers)).status_code == 204
        assert (await client.delete(large.path, headers=admin.headers)).status_code == 404
    assert await superuser.fetchval(LEFT, large.tenant.id) == 0
    assert tuple(await superuser.fetchrow(KEPT, large.tenant.id)) == (MANY, 7 * MANY)


async def test_an_admin_with_many_messages_deletes_itself_unless_it_is_the_last(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(HeldProvider()) as (_, client):
        tenant = await make_tenant(client)
        await insert_messages(superuser, tenant.admin, MANY)
        path = f"/admin/users/{tenant.admin.id}"
        assert (await client.delete(path, headers=tenant.admin.headers)).status_code == 409
        assert await superuser.fetchval(LEFT, tenant.id) == MANY

        second = await second_admin(client, tenant)
        assert (await client.delete(path, headers=tenant.admin.headers)).status_code == 204
        assert await superuser.fetchval(LEFT, tenant.id) == 0
        assert (await client.get("/me", headers=second.headers)).status_code == 200
