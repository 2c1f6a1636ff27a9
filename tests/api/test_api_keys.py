"""API keys: shown once, stored hashed, limited by scopes and by what their user may still do."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Member, Tenant, join, send
from tests.sessions import actions_of, status_of
from tests.statements import statements

ALL = ["messages:read", "messages:write", "admin"]


async def make_key(client: httpx.AsyncClient, member: Member, scopes: list[str], **more: object) -> dict[str, Any]:
    body = {"name": "nightly import", "scopes": scopes, **more}
    answer = await client.post("/api-keys", json=body, headers=member.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_is_shown_once_and_stored_hashed(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    made = await make_key(client, acme.user, ["messages:write", "messages:read", "messages:read"])
    key = made.pop("key")

    assert made["scopes"] == ["messages:read", "messages:write"]
    assert key.startswith(made["prefix"])
    assert len(key) > len(made["prefix"]) + 40
    listed = await client.get("/api-keys", headers=acme.user.headers)
    assert listed.json() == [made]
    assert key not in listed.text
    row = await superuser.fetchrow("SELECT * FROM api_keys WHERE id = $1", made["id"])
    assert row["key_hash"] == hashlib.sha256(key.encode()).hexdigest()
    assert key not in repr(dict(row))
    log = await superuser.fetch("SELECT * FROM audit_log WHERE tenant_id = $1", acme.id)
    assert key not in repr([dict(entry) for entry in log])
    assert (await actions_of(superuser, acme.id))[-1] == "api_key.created"


async def test_a_mistyped_key_costs_no_look_up(app: FastAPI, client: httpx.AsyncClient, acme: Tenant) -> None:
    key = (await make_key(client, acme.user, ALL[:1]))["key"]
    other = {"a": "b"}
    typos = [
        key[:-1],
        key + "0",
        key[:10] + other.get(key[10], "a") + key[11:],
        key[:20] + key[21] + key[20] + key[22:],
    ]
    typos += [f"{key[:-1]}{'0' if key[-1] != '0' else '1'}", key.upper(), "llms_", "llms_" + "0" * 49, f"{key}\u0660"]
    typos = [typo for typo in typos if typo != key]
    wrong_token = await client.get("/me", headers=bearer("no token"))

    with statements() as seen:
        answers = [await client.get("/me", headers={"Authorization": f"Bearer {typo}".encode()}) for typo in typos]

    assert seen == []
    for answer in answers:
        assert_problem(answer, 401)
    assert {without_request_id(answer) for answer in [*answers, wrong_token]} == {without_request_id(wrong_token)}
    assert await status_of(client, key) == 200


async def test_a_key_that_nobody_made_is_refused(client: httpx.AsyncClient, acme: Tenant) -> None:
    from app.core.credentials.opaque_tokens import new_api_key

    assert await status_of(client, new_api_key()) == 401


# Each class of route, with the scope that it needs; None: every key may.
ROUTES = [
    ("GET", "/me", None, None),
    ("GET", "/tenants/{tenant}", None, None),
    ("GET", "/messages", None, "messages:read"),
    ("GET", "/messages/{message}", None, "messages:read"),
    ("GET", "/messages/{message}/stream", None, "messages:read"),
    ("GET", "/conversations", None, "messages:read"),
    ("GET", "/conversations/{conversation}", None, "messages:read"),
    ("POST", "/messages", {"content": "Hello"}, "messages:write"),
    ("POST", "/messages/{message}/cancel", None, "messages:write"),
    ("POST", "/messages/{message}/retry", None, "messages:write"),
    ("POST", "/conversations", {}, "messages:write"),
    ("PATCH", "/conversations/{conversation}", {"title": "x"}, "messages:write"),
    ("DELETE", "/messages/{message}", None, "messages:write"),
    ("DELETE", "/conversations/{conversation}", None, "messages:write"),
    ("GET", "/usage", None, "admin"),
    ("GET", "/admin/budget", None, "admin"),
    ("GET", "/admin/users/{user}/budget", None, "admin"),
    ("GET", "/admin/audit-log", None, "admin"),
    ("GET", "/tenants/{tenant}/users", None, "admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "scope"), ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES])
async def test_a_route_needs_its_scope_and_no_other(
    client: httpx.AsyncClient, acme: Tenant, method: str, path: str, body: object, scope: str | None
) -> None:
    ids = {"tenant": acme.id, "user": acme.user.id, "message": (await send(client, acme.admin))["id"]}
    made = await client.post("/conversations", json={}, headers=acme.admin.headers)
    path = path.format(**ids, conversation=made.json()["id"])
    without = await make_key(client, acme.admin, [other for other in ALL if other != scope])
    only = await make_key(client, acme.admin, [scope or "messages:read"])

    if scope is not None:
        problem = assert_problem(await client.request(method, path, json=body, headers=bearer(without["key"])), 403)
        assert problem["type"] == "urn:llm-saas:problem:insufficient-scope"
    answer = await client.request(method, path, json=body, headers=bearer(only["key"]))
    assert answer.is_success or (answer.status_code, path.rsplit("/", 1)[1]) in {(409, "retry"), (409, "cancel")}


async def test_a_key_makes_no_keys_and_ends_and_changes_nothing_of_its_user(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    made = await make_key(client, acme.admin, ALL)
    key = bearer(made["key"])
    change = {"current_password": PASSWORD, "new_password": "another horse battery"}
    for method, path, body in (
        ("POST", "/api-keys", {"name": "x", "scopes": ["messages:read"]}),
        ("GET", "/api-keys", None),
        ("DELETE", f"/api-keys/{made['id']}", None),
        ("POST", "/logout", {"everywhere": True}),
        ("PUT", "/me/password", change),
    ):
        problem = assert_problem(await client.request(method, path, json=body, headers=key), 403)
        assert problem["type"] == "urn:llm-saas:problem:session-required"
    assert_problem(await client.post("/refresh", json={"refresh_token": made["key"]}), 401)
    assert await status_of(client, made["key"]) == 200
    assert await status_of(client, acme.admin.token) == 200


async def test_a_user_makes_no_admin_key(client: httpx.AsyncClient, acme: Tenant) -> None:
    for scopes in (["admin"], ALL):
        body = {"name": "x", "scopes": scopes}
        assert_problem(await client.post("/api-keys", json=body, headers=acme.user.headers), 403)
    assert (await client.get("/api-keys", headers=acme.user.headers)).json() == []


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["messages:read"] * 11},
        {"scopes": None},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a\x00b"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2050-01-01T00:00:00"},
        {"expires_at": "99999-01-01T00:00:00Z"},
        {"user_id": "x"},
        {"key": "llms_mine"},
    ],
)
async def test_a_bad_key_request_is_bad_input(
    client: httpx.AsyncClient, acme: Tenant, change: dict[str, object]
) -> None:
    body = {"name": "x", "scopes": ["messages:read"], **change}
    assert_problem(await client.post("/api-keys", json=body, headers=acme.user.headers), 422)


async def test_a_key_expires(client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await make_key(client, acme.user, ["messages:read"], expires_at=soon)
    assert await status_of(client, made["key"]) == 200
    await superuser.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", made["id"])
    assert await status_of(client, made["key"]) == 401


async def test_an_admins_key_without_the_admin_scope_is_a_users(client: httpx.AsyncClient, acme: Tenant) -> None:
    await client.patch(f"/tenants/{acme.id}", json={"message_visibility": "own"}, headers=acme.admin.headers)
    theirs, mine = await send(client, acme.user), await send(client, acme.admin)
    key = bearer((await make_key(client, acme.admin, ALL[:2]))["key"])

    assert [row["id"] for row in (await client.get("/messages", headers=key)).json()] == [mine["id"]]
    assert_problem(await client.get(f"/messages/{theirs['id']}", headers=key), 404)
    assert_problem(await client.delete(f"/messages/{theirs['id']}", headers=key), 404)


async def test_what_a_key_does_is_its_users_and_the_log_names_the_key(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    made = await make_key(client, acme.user, ALL[:2])
    sent = await client.post("/messages", json={"content": "x"}, headers=bearer(made["key"]))
    assert sent.json()["user_id"] == acme.user.id
    await client.delete(f"/messages/{sent.json()['id']}", headers=bearer(made["key"]))
    entry = await superuser.fetchrow(
        "SELECT * FROM audit_log WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 1", acme.id
    )
    shown = (entry["action"], entry["actor_type"], entry["actor_id"], entry["api_key_id"])
    assert shown == ("message.deleted", "api_key", acme.user.id, made["id"])
    member = await join(client, acme.id)
    assert_problem(await client.delete(f"/admin/users/{member.id}", headers=bearer(made["key"])), 403)


async def test_a_key_that_may_not_read_replays_its_own_requests_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    body, once = {"content": "the secret"}, {"Idempotency-Key": "once"}
    writing = [bearer((await make_key(client, acme.user, ["messages:write"]))["key"]) for _ in range(2)]
    reading = bearer((await make_key(client, acme.user, ALL[:2]))["key"])
    sent = await client.post("/messages", json=body, headers={**acme.user.headers, **once})
    for key in writing:
        problem = assert_problem(await client.post("/messages", json=body, headers={**key, **once}), 422)
        assert problem["type"] == "urn:llm-saas:problem:idempotency-key-reused"
        assert "message_id" not in problem
    replayed = await client.post("/messages", json=body, headers={**reading, **once})
    assert (replayed.status_code, replayed.json()["id"]) == (201, sent.json()["id"])

    twice = {"Idempotency-Key": "twice"}
    answers = [await client.post("/messages", json=body, headers={**writing[0], **twice}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    for other in (writing[1], acme.user.headers):
        assert_problem(await client.post("/messages", json=body, headers={**other, **twice}), 422)
