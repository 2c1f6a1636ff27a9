"""What the audit log says of what happens often, in a bounded number of entries, and of what admins do to others."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.core.ids import new_id
from app.core.principal import Origin
from app.db.session import Database
from app.residency.places import OnePlace
from app.services.audit_tally import MOST_ENTRIES, AuditTally
from tests.helpers import PASSWORD, Tenant, join, send

WRONG = "not the password at all"


async def entries(
    app: FastAPI, superuser: asyncpg.Connection, tenant: Tenant, *actions: str
) -> list[tuple[str, str | None, int, list[str]]]:
    """(action, target, times, what) of the tally's entries."""
    await app.state.container.shared.tally.flush()
    rows = await superuser.fetch(
        "SELECT * FROM audit_log WHERE tenant_id = $1 AND action = ANY ($2) ORDER BY action, target_id",
        tenant.id,
        list(actions),
    )
    assert all(row["actor_type"] == "anonymous" and row["actor_id"] is None for row in rows)
    details = [json.loads(row["details"]) for row in rows]
    return [
        (row["action"], row["target_id"], found["times"], found.get("what", []))
        for row, found in zip(rows, details, strict=True)
    ]


async def log_in_wrongly(client: httpx.AsyncClient, email: str) -> None:
    assert (await client.post("/login", json={"email": email, "password": WRONG})).status_code == 401


async def test_refused_logins_are_counted_for_each_user(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    for _ in range(3):
        await log_in_wrongly(client, acme.user.email)
    await log_in_wrongly(client, acme.admin.email)
    await log_in_wrongly(client, "nobody@acme.com")
    found = await entries(app, superuser, acme, "login.refused")
    assert sorted(found) == sorted([("login.refused", acme.user.id, 3, []), ("login.refused", acme.admin.id, 1, [])])
    assert await entries(app, superuser, acme, "login.refused") == found  # counted once


async def test_what_a_caller_may_not_do_is_counted_with_what_it_was(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    message = await send(client, acme.admin)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/admin/audit-log", {}),
        ("DELETE", f"/messages/{message['id']}", {}),
        ("GET", f"/tenants/{rival.id}", {}),
        ("PUT", "/me/password", {"json": {"current_password": WRONG, "new_password": f"{PASSWORD}!"}}),
    ]
    for method, path, options in calls:
        assert (await client.request(method, path, headers=acme.user.headers, **options)).status_code == 403
    what = ["DELETE /messages/{id}", "GET /admin/audit-log", "GET /tenants/{id}", "PUT /me/password"]
    assert await entries(app, superuser, acme, "request.refused") == [("request.refused", acme.user.id, 4, what)]


async def test_reading_users_and_the_log_itself_is_counted(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    for path in ("/admin/audit-log", "/admin/audit-log?limit=1", f"/tenants/{acme.id}/users"):
        assert (await client.get(path, headers=acme.admin.headers)).status_code == 200
    found = await entries(app, superuser, acme, "audit_log.read", "users.read")
    assert found == [("audit_log.read", acme.admin.id, 2, []), ("users.read", acme.admin.id, 1, [])]


async def test_a_flood_makes_a_bounded_number_of_entries(
    superuser: asyncpg.Connection, database_url: URL, acme: Tenant
) -> None:
    database = Database(database_url, pool_size=1)
    tally = AuditTally(OnePlace(database))
    try:
        for number in range(1000):
            tally.count(acme.id, "login.refused", new_id(), Origin(f"192.0.2.{number % 200}"))
        tally.count(new_id(), "login.refused", new_id(), Origin())  # its tenant is gone: nobody else's are lost
        await tally.flush()
    finally:
        await database.close()
    rows = await superuser.fetch(
        "SELECT (details->>'times')::int AS times, jsonb_array_length(details->'addresses') AS addresses"
        " FROM audit_log WHERE tenant_id = $1 AND action = 'login.refused'",
        acme.id,
    )
    assert len(rows) == MOST_ENTRIES + 1
    assert sum(row["times"] for row in rows) == 1000
    assert max(row["addresses"] for row in rows) <= 5


async def test_a_tenant_that_moves_loses_nothing_and_costs_no_other_its_entries(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    moving = "UPDATE tenants SET moving = $2, moving_until = now() + interval '1 h' WHERE id = $1"
    await superuser.execute(moving, acme.id, "frozen")
    await log_in_wrongly(client, acme.user.email)
    await log_in_wrongly(client, rival.user.email)
    assert await entries(app, superuser, rival, "login.refused") == [("login.refused", rival.user.id, 1, [])]
    await log_in_wrongly(client, acme.user.email)
    await superuser.execute(moving, acme.id, None)
    assert await entries(app, superuser, acme, "login.refused") == [("login.refused", acme.user.id, 2, [])]


async def test_what_was_counted_is_noted_when_the_process_ends(
    superuser: asyncpg.Connection, database_url: URL, acme: Tenant, app: FastAPI
) -> None:
    database = Database(database_url, pool_size=1)
    tally = AuditTally(OnePlace(database))
    running = asyncio.create_task(tally.run())
    tally.count(acme.id, "login.refused", acme.user.id, Origin("192.0.2.1"))
    running.cancel()
    await asyncio.wait([running])
    await tally.flush()  # as the container does when it closes
    await database.close()
    assert (
        await superuser.fetchval(
            "SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND action = 'login.refused'", acme.id
        )
        == 1
    )


@pytest.mark.parametrize("own", [False, True])
async def test_what_an_admin_does_to_anothers_messages_and_prompts_is_noted(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, own: bool
) -> None:
    owner = acme.admin if own else await join(client, acme.id)
    talk = (await client.post("/conversations", json={}, headers=owner.headers)).json()["id"]
    message = (await send(client, owner))["id"]
    await superuser.execute("UPDATE messages SET status = 'failed', error_code = 'x' WHERE id = $1", message)
    admin = acme.admin.headers
    changed = await client.patch(f"/conversations/{talk}", json={"system_prompt": "Be rude."}, headers=admin)
    assert changed.status_code == 200
    assert (await client.post(f"/messages/{message}/retry", headers=admin)).status_code == 200

    rows = await superuser.fetch(
        "SELECT * FROM audit_log WHERE tenant_id = $1 AND action = ANY ($2) ORDER BY action",
        acme.id,
        ["conversation.changed", "message.retried"],
    )
    assert [(row["actor_id"], row["target_id"]) for row in rows] == (
        [] if own else [(acme.admin.id, talk), (acme.admin.id, message)]
    )
    assert "rude" not in str(rows)


async def test_the_services_own_id_stands_beside_the_callers(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    for _ in range(2):
        headers = {**acme.admin.headers, "X-Request-ID": "chosen"}
        await client.put("/admin/budget", json={"limit_micro_usd": 5}, headers=headers)
    rows = await superuser.fetch("SELECT * FROM audit_log WHERE tenant_id = $1 AND action = 'budget.set'", acme.id)
    assert {row["request_id"] for row in rows} == {"chosen"}
    assert len({row["own_request_id"] for row in rows}) == 2

    await client.put("/admin/budget", json={"limit_micro_usd": 6}, headers=acme.admin.headers)
    newest = await superuser.fetchrow(
        "SELECT * FROM audit_log WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1", acme.id
    )
    assert newest["request_id"] == newest["own_request_id"]
