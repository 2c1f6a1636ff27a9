"""Admins who remove each other at once, and users who go while something of theirs runs."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.test_api_keys import bearer, make_key
from tests.api.test_audit_log import CHANGE
from tests.api.test_user_admin import LOSING, LOSING_IDS, second_admin
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.helpers import PASSWORD, Tenant, join, make_tenant
from tests.sessions import actions_of
from tests.waiting import until

ADMINS = "SELECT count(*) FROM users WHERE tenant_id = $1 AND role = 'admin' AND disabled_at IS NULL"


@pytest.mark.parametrize(("method", "body"), LOSING, ids=LOSING_IDS)
async def test_of_two_admins_who_remove_each_other_one_stays(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, method: str, body: Any
) -> None:
    for _ in range(20):
        tenant = await make_tenant(client)
        second = await second_admin(client, tenant)
        answers = await asyncio.gather(
            client.request(method, f"/admin/users/{second.id}", json=body, headers=tenant.admin.headers),
            client.request(method, f"/admin/users/{tenant.admin.id}", json=body, headers=second.headers),
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] in (200, 204)
        assert statuses[1] in (401, 409)
        assert await superuser.fetchval(ADMINS, tenant.id) == 1


async def test_a_key_in_its_first_use_hinders_no_removal_of_its_admin(
    client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    for _ in range(20):
        tenant = await make_tenant(client)
        second = await second_admin(client, tenant)
        key = bearer((await make_key(client, second, ["admin"]))["key"])
        answers = await asyncio.gather(
            client.get("/admin/budget", headers=key),
            client.delete(f"/admin/users/{second.id}", headers=tenant.admin.headers),
        )
        assert answers[0].status_code in (200, 401)
        assert answers[1].status_code == 204
        assert await superuser.fetchval(ADMINS, tenant.id) == 1


async def test_of_two_admins_who_step_down_at_once_one_stays(
    client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    for _ in range(20):
        tenant = await make_tenant(client)
        admins = [tenant.admin, await second_admin(client, tenant)]
        answers = await asyncio.gather(
            *(client.delete(f"/admin/users/{admin.id}", headers=admin.headers) for admin in admins)
        )
        assert sorted(answer.is_success for answer in answers) == [False, True]
        assert await superuser.fetchval(ADMINS, tenant.id) == 1
        assert (await actions_of(superuser, tenant.id)).count("user.deleted") == 1


async def test_a_user_who_is_deleted_while_a_message_runs_takes_it_along(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        member = await join(client, acme.id)
        await client.put("/admin/budget", json={"limit_micro_usd": None}, headers=acme.admin.headers)
        body = {"content": "Hello", "stream": False, "background": True}
        assert (await client.post("/messages", json=body, headers=member.headers)).status_code == 202
        await provider.wait_for_calls(1)

        deleted = await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)
        assert deleted.status_code == 204
        provider.release.set()
        await until(lambda: not app.state.container.engine._running, "the run to end")

        assert await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id) == 0
        reserved = "SELECT reserved_micro_usd FROM budgets WHERE tenant_id = $1"
        assert await superuser.fetchval(reserved, acme.id) == 0
        assert not app.state.container.engine._tenants


async def test_an_admins_message_that_runs_in_a_deleted_users_conversation_ends(
    serve: Serve, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (_, client):
        member = await join(client, acme.id)
        talk = (await client.post("/conversations", json={}, headers=member.headers)).json()["id"]
        body = {"content": "Hello", "conversation_id": talk}
        sending = asyncio.create_task(client.post("/messages", json=body, headers=acme.admin.headers))
        await provider.wait_for_calls(1)
        deleted = await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)
        assert deleted.status_code == 204
        provider.release.set()
        assert (await sending).status_code == 503, "interrupted: its conversation is gone"
        assert await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id) == 0


async def test_what_a_user_does_while_it_is_deleted_is_done_or_refused(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    seen = set()
    for at in range(30):
        member = await join(client, acme.id)
        talk = (await client.post("/conversations", json={}, headers=member.headers)).json()["id"]
        key = bearer((await make_key(client, member, ["messages:write"]))["key"])
        body = {"content": "Hello", "conversation_id": talk}
        calls = [
            client.post("/messages", json=body, headers=key),
            client.post("/messages", json={"content": "Hello"}, headers=member.headers),
            client.post("/conversations", json={}, headers=member.headers),
            client.post("/api-keys", json={"name": "x", "scopes": ["messages:read"]}, headers=member.headers),
            client.post("/login", json={"email": member.email, "password": PASSWORD}),
            client.put("/me/password", json=CHANGE, headers=member.headers),
        ]
        deletion = f"/admin/users/{member.id}"
        calls.insert(at % 7, client.delete(deletion, headers=acme.admin.headers))
        answers = await asyncio.gather(*calls)
        seen |= {answer.status_code for answer in answers}
        if answers[at % 7].status_code == 503:  # it waited for one that waited for it
            assert (await client.delete(deletion, headers=acme.admin.headers)).status_code == 204
        assert await superuser.fetchval("SELECT count(*) FROM users WHERE id = $1", member.id) == 0
    assert seen <= {200, 201, 204, 401, 404, 503}
