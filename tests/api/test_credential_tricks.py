"""Credentials in the wrong place, in the wrong form, too many and too large."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.problems import assert_problem
from tests.api.test_api_keys import ALL, make_key
from tests.helpers import PASSWORD, Tenant
from tests.sessions import Session, begin, refresh, status_of


async def test_a_credential_counts_in_its_header_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    key, token = (await make_key(client, acme.user, ALL[:2]))["key"], acme.user.token
    for credential in (key, token):
        for headers in (
            {"X-API-Key": credential},
            {"Cookie": f"access_token={credential}; Authorization=Bearer {credential}"},
            {"Proxy-Authorization": f"Bearer {credential}"},
            {"Authorization": credential},
            {"Authorization": f"Basic {credential}"},
            {"Authorization": f"Bearer  {credential}"},
            {"Authorization": f"Bearer\t{credential}"},
            {"Authorization": f"Bearer {credential},"},
            {"Authorization": f'Bearer "{credential}"'},
            {"Authorization": f"Bearer x Bearer {credential}"},
        ):
            path = f"/me?access_token={credential}&api_key={credential}"
            assert_problem(await client.get(path, headers=headers), 401)
        assert (await client.get("/me", headers={"authorization": f"bEARER {credential}"})).status_code == 200


async def test_of_two_authorization_headers_no_mix_is_made(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    both = [("Authorization", f"Bearer {member.token}") for member in (acme.user, rival.admin)]
    answer = await client.get("/me", headers=both)
    assert answer.json()["id"] == acme.user.id
    assert_problem(await client.get("/admin/budget", headers=both), 403)


async def test_what_a_header_claims_of_role_user_or_tenant_is_not_heard(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    claims = {"X-Tenant-Id": rival.id, "X-User-Id": rival.admin.id, "X-Role": "admin", "X-HTTP-Method-Override": "PUT"}
    headers = {**acme.user.headers, **claims}
    me = (await client.get("/me", headers=headers)).json()
    assert (me["id"], me["tenant_id"], me["role"]) == (acme.user.id, acme.id, "user")
    assert_problem(await client.get("/admin/budget", headers=headers), 403)


async def test_each_kind_of_credential_does_its_own_work_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    session = await begin(client, acme.user)
    key = (await make_key(client, acme.user, ALL[:2]))["key"]
    invite = await client.post("/admin/invites", json={"email": "a@acme.com"}, headers=acme.admin.headers)
    token = invite.json()["token"]
    for credential in (session.refresh, token):
        assert await status_of(client, credential) == 401
    for credential in (key, token):
        assert_problem(await refresh(client, credential), 401)
    body = {"email": "a@acme.com", "password": PASSWORD, "tenant_id": acme.id}
    for credential in (key, session.refresh):
        answer = await client.post("/register", json={**body, "invite_token": credential})
        assert_problem(answer, 403, 422)


ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/refresh", {"refresh_token": "x"}),
    ("POST", "/logout", {"everywhere": False}),
    ("PUT", "/me/password", {"current_password": "x", "new_password": "y" * 8}),
    ("POST", "/api-keys", {"name": "x", "scopes": ["messages:read"]}),
    ("POST", "/admin/invites", {"email": "a@acme.com"}),
    ("PATCH", "/admin/users/x", {"disabled": True}),
    ("PATCH", "/tenants/{id}", {"registration": "closed"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[route[1] for route in ROUTES])
async def test_a_huge_or_broken_body_is_refused(
    client: httpx.AsyncClient, acme: Tenant, method: str, path: str, body: dict[str, Any]
) -> None:
    path, headers = path.format(id=acme.id), {**acme.admin.headers, "Content-Type": "application/json"}
    broken = [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"[" * 16_000,
        b"null",
        b"5",
        b'"x"',
        b"[]",
        b"{}{}",
        b'{"x": NaN}',
    ]
    for content in broken:
        if (path, content) == ("/logout", b"null"):
            continue  # no body is a body there
        assert_problem(await client.request(method, path, content=content, headers=headers), 400, 413, 422)
    for field, value in body.items():
        for wrong in ("x" * 1_000_000, "x" * 16_000, ["x"] * 1000, {"x": value}, 10**400, "\ud800"):
            content = json.dumps({**body, field: wrong}).encode()
            assert_problem(await client.request(method, path, content=content, headers=headers), 400, 413, 422)
    large = b'{"x": "' + b"x" * 16_384 + b'"}'
    assert_problem(await client.request(method, path, content=large, headers=headers), 413)
    assert await status_of(client, acme.admin.token) == 200


@pytest.mark.parametrize("path", ["/api-keys/{id}", "/admin/users/{id}", "/admin/invites/{id}"])
async def test_a_path_that_is_no_id_finds_nothing(client: httpx.AsyncClient, acme: Tenant, path: str) -> None:
    for wrong in ("x", "%00", "..%2f..", "%27%20OR%201=1", acme.user.id[:-1], "%F0%9F%92%A9"):
        answer = await client.delete(path.format(id=wrong), headers=acme.admin.headers)
        assert_problem(answer, 404)
    assert_problem(await client.delete(path.format(id="x" * 101), headers=acme.admin.headers), 422)


async def test_refreshes_logins_and_logouts_all_at_once_leave_a_sound_state(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    sessions = [await begin(client, acme.user) for _ in range(10)]
    calls = [refresh(client, session.refresh) for session in sessions for _ in range(3)]
    calls += [client.post("/logout", headers=session.headers) for session in sessions[:5]]
    calls += [client.post("/login", json={"email": acme.user.email, "password": PASSWORD}) for _ in range(5)]
    answers = await asyncio.gather(*calls)

    assert {answer.status_code for answer in answers} <= {200, 204, 401}
    for session in sessions[:5]:
        assert await status_of(client, session.access) == 401
        assert_problem(await refresh(client, session.refresh), 401)
    for at, session in enumerate(sessions[5:]):
        successors = {Session.of(answer).refresh for answer in answers[3 * (5 + at) : 3 * (5 + at) + 3]}
        assert len(successors) == 1
        assert await status_of(client, session.access) == 200
    reused = "SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND action = 'session.reuse_detected'"
    assert await superuser.fetchval(reused, acme.id) == 0
