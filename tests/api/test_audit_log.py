"""The audit log: complete, unchangeable, the admins' of its tenant, and stored with what it tells of or not at all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.helpers import PASSWORD, Member, Tenant, join, send, unique_email


async def log_of(client: httpx.AsyncClient, admin: Member, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/admin/audit-log?limit=100{query}", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()
    return entries


@asynccontextmanager
async def as_runtime(superuser: asyncpg.Connection, tenant_id: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    """With the rights of a role of the service, inside a tenant; nothing of it stays."""
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute("SELECT set_config('app.tenant_id', $1, true)", tenant_id)
        await superuser.execute(f"SET LOCAL ROLE {role}")
        yield superuser
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("role", ["llm_saas_app", "llm_saas_definer"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET action = 'x'",
        "UPDATE audit_log SET details = '{}'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DROP TABLE audit_log",
        "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
        "SELECT * FROM audit_log FOR UPDATE",
        "INSERT INTO audit_log (id, tenant_id, action, actor_type) SELECT '1', app_tenant(), 'x', 'x'"  # noqa: ISC004
        " ON CONFLICT (id) DO UPDATE SET action = 'x'",
    ],
)
async def test_no_role_of_the_service_can_change_an_entry(
    superuser: asyncpg.Connection, acme: Tenant, role: str, statement: str
) -> None:
    async with as_runtime(superuser, acme.id, role) as connection:
        if (role, statement) == ("llm_saas_definer", "DELETE FROM audit_log"):
            # It erases the log with its tenant: the policy shows it no other entry.
            assert await connection.execute(statement) == "DELETE 0"
            return
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_no_entry_can_be_slipped_into_another_tenants_log(
    superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    insert = "INSERT INTO audit_log (id, tenant_id, action, actor_type) VALUES ($1, $2, 'x', 'operator')"
    async with as_runtime(superuser, acme.id, "llm_saas_app") as connection:
        await connection.execute(insert, new_id(), acme.id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(insert, new_id(), rival.id)


async def test_an_entry_says_who_what_when_and_from_where(app: FastAPI, acme: Tenant) -> None:
    async def from_elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["client_address"] = scope["client"][0]
        await app(scope, receive, send)

    transport = httpx.ASGITransport(from_elsewhere, client=("203.0.113.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        headers = {**acme.admin.headers, "X-Request-ID": "request-4711"}
        body = {"email": unique_email(), "password": PASSWORD, "role": "user"}
        made = (await client.post("/admin/users", json=body, headers=headers)).json()
        (entry,) = await log_of(client, acme.admin, f"&target_id={made['id']}")

    assert entry.pop("id")
    assert entry.pop("created_at") >= made["created_at"]
    assert len(entry.pop("own_request_id")) == 36
    assert entry == {
        "action": "user.created",
        "actor_type": "user",
        "actor_id": acme.admin.id,
        "api_key_id": None,
        "target_id": made["id"],
        "address": "203.0.113.7",
        "request_id": "request-4711",
        "details": {"role": "user"},
    }


async def test_reading_the_webhook_secret_is_noted_and_the_secret_is_not(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    secret = (await client.get("/admin/webhook-secret", headers=acme.admin.headers)).json()["secret"]
    assert_problem(await client.get("/admin/webhook-secret", headers=acme.user.headers), 403)
    (entry,) = await log_of(client, acme.admin, "&action=webhook_secret.read")
    assert entry["actor_id"] == acme.admin.id
    assert secret not in str(entry)


async def test_filters_narrow_and_pages_show_every_entry_once(client: httpx.AsyncClient, acme: Tenant) -> None:
    members = [await join(client, acme.id) for _ in range(4)]
    everything = await log_of(client, acme.admin)
    assert len(everything) == 13
    times = [entry["created_at"] for entry in everything]
    assert times == sorted(times, reverse=True)

    url, seen = "/admin/audit-log?limit=5", []
    while url:
        page = await client.get(url, headers=acme.admin.headers)
        seen += page.json()
        url = page.links.get("next", {}).get("url", "")
    assert seen == everything

    for query, expected in {
        "&action=user.registered": 5,
        f"&actor_id={members[0].id}": 1,
        f"&target_id={members[0].id}": 2,
        f"&target_id={members[0].id}&action=session.begun": 1,
        f"&target_id={members[0].id}&actor_id={members[1].id}": 0,
        "&action=no.such": 0,
        "&action=%27%20OR%201=1": 0,
        "&actor_id=x": 0,
    }.items():
        assert len(await log_of(client, acme.admin, query)) == expected, query


@pytest.mark.parametrize("query", ["action=%00", f"action={'x' * 51}", f"actor_id={'x' * 37}", "limit=0", "cursor=x"])
async def test_a_bad_filter_is_bad_input(client: httpx.AsyncClient, acme: Tenant, query: str) -> None:
    assert_problem(await client.get(f"/admin/audit-log?{query}", headers=acme.admin.headers), 422)


async def test_the_log_is_the_admins_of_its_tenant(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    assert_problem(await client.get("/admin/audit-log", headers=acme.user.headers), 403)
    assert_problem(await client.get("/admin/audit-log"), 401)
    ids = {entry["id"] for entry in await log_of(client, acme.admin)}
    assert ids
    assert not ids & {entry["id"] for entry in await log_of(client, rival.admin)}
    assert await log_of(client, rival.admin, f"&actor_id={acme.admin.id}") == []


Call = Callable[[httpx.AsyncClient, Tenant], Awaitable[httpx.Response]]
KEY = {"name": "x", "scopes": ["messages:read"]}


async def _delete_message(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    listed = (await client.get("/messages", headers=tenant.user.headers)).json()
    return await client.delete(f"/messages/{listed[0]['id']}", headers=tenant.user.headers)


async def _delete_conversation(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    listed = (await client.get("/conversations", headers=tenant.user.headers)).json()
    return await client.delete(f"/conversations/{listed[0]['id']}", headers=tenant.user.headers)


async def _revoke_key(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    listed = (await client.get("/api-keys", headers=tenant.user.headers)).json()
    return await client.delete(f"/api-keys/{listed[0]['id']}", headers=tenant.user.headers)


async def _revoke_invite(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    listed = (await client.get("/admin/invites", headers=tenant.admin.headers)).json()
    return await client.delete(f"/admin/invites/{listed[0]['id']}", headers=tenant.admin.headers)


CHANGE = {"current_password": PASSWORD, "new_password": "another horse battery"}
ACTIONS: dict[str, Call] = {
    "message.deleted": _delete_message,
    "conversation.deleted": _delete_conversation,
    "api_key.created": lambda c, t: c.post("/api-keys", json=KEY, headers=t.user.headers),
    "api_key.revoked": _revoke_key,
    "invite.created": lambda c, t: c.post("/admin/invites", json={"email": "i@acme.com"}, headers=t.admin.headers),
    "invite.revoked": _revoke_invite,
    "session.begun": lambda c, t: c.post("/login", json={"email": t.user.email, "password": PASSWORD}),
    "session.ended": lambda c, t: c.post("/logout", headers=t.user.headers),
    "user.password_changed": lambda c, t: c.put("/me/password", json=CHANGE, headers=t.user.headers),
    "user.registered": lambda c, t: c.post(
        "/register", json={"email": unique_email(), "password": PASSWORD, "tenant_id": t.id}
    ),
    "user.created": lambda c, t: c.post(
        "/admin/users", json={"email": unique_email(), "password": PASSWORD}, headers=t.admin.headers
    ),
    "user.changed": lambda c, t: c.patch(f"/admin/users/{t.user.id}", json={"disabled": True}, headers=t.admin.headers),
    "user.deleted": lambda c, t: c.delete(f"/admin/users/{t.user.id}", headers=t.admin.headers),
    "tenant.changed": lambda c, t: c.patch(
        f"/tenants/{t.id}", json={"registration": "closed"}, headers=t.admin.headers
    ),
    "budget.set": lambda c, t: c.put("/admin/budget", json={"limit_micro_usd": 5}, headers=t.admin.headers),
    "webhook_secret.replaced": lambda c, t: c.post("/admin/webhook-secret", headers=t.admin.headers),
    "webhook_secret.read": lambda c, t: c.get("/admin/webhook-secret", headers=t.admin.headers),
}
TABLES = ("tenants", "users", "messages", "conversations", "sessions", "api_keys", "invites", "budgets", "audit_log")
BREAK = {
    "the entry fails": (
        "ALTER TABLE audit_log ADD CONSTRAINT refuse CHECK (false) NOT VALID",
        "ALTER TABLE audit_log DROP CONSTRAINT refuse",
    ),
    "the commit fails": (
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
           CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit_log DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION refuse()""",
        "DROP FUNCTION refuse CASCADE",
    ),
}


async def state_of(superuser: asyncpg.Connection, tenant_id: str) -> dict[str, str]:
    state = {}
    for table in TABLES:
        column = "id" if table == "tenants" else "tenant_id"
        rows = f"SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM {table} t WHERE t.{column} = $1"
        state[table] = await superuser.fetchval(rows, tenant_id)
    return state


@pytest.mark.parametrize("failure", BREAK)
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_and_its_entry_are_both_stored_or_neither(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, action: str, failure: str
) -> None:
    await send(client, acme.user)
    await client.post("/conversations", json={}, headers=acme.user.headers)
    await client.post("/api-keys", json=KEY, headers=acme.user.headers)
    await client.post("/admin/invites", json={"email": unique_email()}, headers=acme.admin.headers)
    before = await state_of(superuser, acme.id)
    broken, mended = BREAK[failure]

    await superuser.execute(broken)
    try:
        assert_problem(await ACTIONS[action](client, acme), 500)
        assert await state_of(superuser, acme.id) == before
    finally:
        await superuser.execute(mended)

    assert (await ACTIONS[action](client, acme)).is_success
    after = await state_of(superuser, acme.id)
    changed = {table for table in TABLES if after[table] != before[table]}
    assert "audit_log" in changed
    assert len(changed) > 1 or action == "webhook_secret.read"
    newest = "SELECT action FROM audit_log WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1"
    assert await superuser.fetchval(newest, acme.id) == action


async def test_a_created_tenant_and_its_entry_are_both_stored_or_neither(
    client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    body = {"name": unique_email("Tenant")}
    for broken, mended in BREAK.values():
        await superuser.execute(broken)
        try:
            assert_problem(await client.post("/create-tenant", json=body), 500)
        finally:
            await superuser.execute(mended)
        assert await superuser.fetchval("SELECT count(*) FROM tenants WHERE name = $1", body["name"]) == 0
    assert (await client.post("/create-tenant", json=body)).status_code == 201
