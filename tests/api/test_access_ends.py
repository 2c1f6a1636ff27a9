"""What creates access needs a login session whose password was just given, and ends with its maker.

One table: what is handed out (a session's token, keys, an invite) by what happens to its maker.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.services import api_key_service, conversation_service, invite_service
from app.verification.callers import KEY_SCOPES
from app.verification.operation import ADMIN_SCOPE, SESSION, Access
from app.verification.operations import OPERATIONS
from tests.api.problems import assert_problem
from tests.api.test_api_keys import ALL, bearer, make_key
from tests.api.test_joining import invite, register
from tests.api.test_user_admin import second_admin
from tests.committed.test_session_races import held_open, waits_or_is_done
from tests.helpers import PASSWORD, Member, Tenant, unique_email
from tests.isolation.callers import CALLERS
from tests.isolation.resources import Service
from tests.sessions import status_of

NEW_PASSWORD = "another horse battery"


class Maker:
    """An admin, and what it has handed out."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant, member: Member) -> None:
        self.client, self.tenant, self.member = client, tenant, member
        self.keys: dict[str, str] = {}
        self.invites: list[tuple[str, str]] = []

    async def hand_out(self) -> None:
        self.keys = {
            "key": (await make_key(self.client, self.member, ALL[:2]))["key"],
            "admin_key": (await make_key(self.client, self.member, ALL))["key"],
        }
        for _ in range(2):
            email = unique_email()
            self.invites.append((email, (await invite(self.client, self.member, email))["token"]))

    async def holds(self) -> set[str]:
        """What of it still lets somebody in."""
        credentials = {"token": self.member.token, **self.keys}
        found = {name for name, value in credentials.items() if await status_of(self.client, value) == 200}
        email, token = self.invites[0]
        answer = await register(self.client, self.tenant, email, token)
        assert answer.status_code in (201, 403), answer.text
        if answer.status_code == 201:
            self.invites.pop(0)
            found.add("invite")
        return found

    async def changed(self, **change: object) -> None:
        path = f"/admin/users/{self.member.id}"
        answer = await self.client.patch(path, json=change, headers=self.tenant.admin.headers)
        assert answer.status_code == 200, answer.text

    async def deleted(self) -> None:
        answer = await self.client.delete(f"/admin/users/{self.member.id}", headers=self.tenant.admin.headers)
        assert answer.status_code == 204, answer.text

    async def logged_out(self, *, everywhere: bool) -> None:
        body = {"everywhere": everywhere}
        assert (await self.client.post("/logout", json=body, headers=self.member.headers)).status_code == 204

    async def with_a_new_password(self, **more: bool) -> None:
        change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD, **more}
        answer = await self.client.put("/me/password", json=change, headers=self.member.headers)
        assert answer.status_code == 204, answer.text


Happens = Callable[[Maker], Awaitable[None]]


async def _nothing(_: Maker) -> None:
    pass


async def _demoted(maker: Maker) -> None:
    await maker.changed(role="user")


async def _promoted_again(maker: Maker) -> None:
    await maker.changed(role="user")
    await maker.changed(role="admin")


async def _disabled(maker: Maker) -> None:
    await maker.changed(disabled=True)


async def _enabled_again(maker: Maker) -> None:
    await maker.changed(disabled=True)
    await maker.changed(disabled=False)


async def _logged_out(maker: Maker) -> None:
    await maker.logged_out(everywhere=False)


async def _logged_out_everywhere(maker: Maker) -> None:
    await maker.logged_out(everywhere=True)


async def _new_password(maker: Maker) -> None:
    await maker.with_a_new_password()


async def _new_password_that_keeps_keys(maker: Maker) -> None:
    await maker.with_a_new_password(keep_api_keys=True)


STATES: list[tuple[Happens, set[str]]] = [
    (_nothing, {"token", "key", "admin_key", "invite"}),
    (_demoted, {"key"}),
    (_promoted_again, {"key"}),
    (_disabled, set()),
    (_enabled_again, set()),
    (Maker.deleted, set()),
    (_logged_out, {"key", "admin_key", "invite"}),
    (_logged_out_everywhere, {"key", "admin_key", "invite"}),
    (_new_password, {"invite"}),
    (_new_password_that_keeps_keys, {"key", "admin_key", "invite"}),
]


@pytest.mark.parametrize(("happens", "left"), STATES, ids=[row[0].__name__.strip("_") for row in STATES])
async def test_what_was_handed_out_ends_with_its_maker(
    client: httpx.AsyncClient, acme: Tenant, happens: Happens, left: set[str]
) -> None:
    maker = Maker(client, acme, await second_admin(client, acme))
    await maker.hand_out()
    await happens(maker)
    assert await maker.holds() == left
    assert await maker.holds() == left, "at the second look too"


async def test_what_a_demotion_left_behind_does_not_revive(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    """Rows of before keys and invites ended with their maker."""
    maker = Maker(client, acme, await second_admin(client, acme))
    await maker.hand_out()
    demoted = "UPDATE users SET role = 'user', token_version = token_version + 1 WHERE id = $1"
    await superuser.execute(demoted, maker.member.id)
    assert await maker.holds() == {"key"}
    await maker.changed(role="admin")
    assert await maker.holds() == {"key"}


# --- what needs a session, and a fresh one

ADMINS_IN_PERSON = [row for row in OPERATIONS if row.access is Access.ADMIN and row.scope == SESSION]
LOOKED_AT = [row for row in OPERATIONS if row.access is Access.ADMIN and row.scope != SESSION]
NOT_FRESH = {"PUT /admin/budget", "PUT /admin/users/{id}/budget", "PUT /admin/api-keys/{id}/budget"}
FRESH = [row for row in ADMINS_IN_PERSON if row.name not in NOT_FRESH]


def test_with_a_key_an_admin_looks_and_changes_nothing() -> None:
    assert {row.method for row in LOOKED_AT} == {"get"}
    assert all(ADMIN_SCOPE in KEY_SCOPES[kind] for kind in ("key_with_all",)), "which test_every_operation calls with"
    assert set(CALLERS) >= {"demoted", "disabled", "deleted", "logged_out", "with_an_old_password", "revoked_key"}


async def test_a_stale_session_makes_no_access_and_takes_nothing_away(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    service = Service(app, client, superuser)
    made: dict[str, Any] = {row.target: await service.make(row.target, acme) for row in FRESH if row.target}
    aged = "UPDATE sessions SET created_at = now() - interval '16 minutes' WHERE tenant_id = $1"
    await superuser.execute(aged, acme.id)

    async def call(name: str, **more: Any) -> httpx.Response:
        method, path = name.split(" ")
        return await client.request(method, path, headers=acme.admin.headers, **more)

    for row in FRESH:
        values = {"email": unique_email(), "name": "New name", "tenant_name": acme.name, "password": PASSWORD}
        body, query = row.filled(lambda kind, values=values: values[kind]), {"name": acme.name} if row.query else {}
        name = f"{row.method} {row.path_to(made.get(row.target, ''))}"
        problem = assert_problem(await call(name, json=body, params=query), 403)
        assert problem["type"] == "urn:llm-saas:problem:fresh-login-required", row.name
    key = {"name": "x", "scopes": ["messages:read"]}
    problem = assert_problem(await call("POST /api-keys", json=key), 403)
    assert problem["type"] == "urn:llm-saas:problem:fresh-login-required"
    for name, more in (("GET /api-keys", {}), ("PUT /admin/budget", {"json": {"limit_micro_usd": None}})):
        assert (await call(name, **more)).status_code == 200
    log = await superuser.fetchval(
        "SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND action = 'tenant.exported'", acme.id
    )
    assert log == 0


async def test_a_refreshed_session_is_as_old_as_its_login(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    begun = (await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})).json()
    await superuser.execute(
        "UPDATE sessions SET created_at = now() - interval '16 minutes' WHERE tenant_id = $1", acme.id
    )
    renewed = (await client.post("/refresh", json={"refresh_token": begun["refresh_token"]})).json()
    body = {"name": "x", "scopes": ["messages:read"]}
    answer = await client.post("/api-keys", json=body, headers=bearer(renewed["access_token"]))
    assert_problem(answer, 403)


# --- what comes at the same moment


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE users SET role = 'user', token_version = token_version + 1 WHERE id = $1",
        "UPDATE users SET disabled_at = now() WHERE id = $1",
        "UPDATE users SET token_version = token_version + 1 WHERE id = $1",
    ],
    ids=["demoted", "disabled", "new password"],
)
async def test_a_key_that_its_makers_end_overtakes_is_not_made(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant, end: str
) -> None:
    body = {"name": "x", "scopes": ["messages:read"]}
    async with held_open(database_url, acme.admin.id, end):
        made = asyncio.create_task(client.post("/api-keys", json=body, headers=acme.admin.headers))
        await waits_or_is_done(superuser, made)
    assert (await made).status_code == 401
    assert await superuser.fetchval("SELECT count(*) FROM api_keys WHERE tenant_id = $1", acme.id) == 0


async def test_an_invite_that_its_senders_demotion_overtakes_is_not_made(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant
) -> None:
    demotion = """
    WITH locked AS (SELECT tenant_id FROM users WHERE id = $1),
         turn AS (UPDATE tenants SET updated_at = now() WHERE id = (SELECT tenant_id FROM locked) RETURNING id)
    UPDATE users SET role = 'user' WHERE id = $1 AND EXISTS (SELECT FROM turn)
    """
    async with held_open(database_url, acme.admin.id, demotion):
        body = {"email": unique_email()}
        made = asyncio.create_task(client.post("/admin/invites", json=body, headers=acme.admin.headers))
        await waits_or_is_done(superuser, made)
    assert (await made).status_code == 401
    assert await superuser.fetchval("SELECT count(*) FROM invites WHERE tenant_id = $1", acme.id) == 0


# --- how many


async def test_a_user_has_a_bounded_number_of_keys(
    client: httpx.AsyncClient, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_service, "KEYS_PER_USER", 3)
    body = {"name": "x", "scopes": ["messages:read"]}
    answers = await asyncio.gather(*(client.post("/api-keys", json=body, headers=acme.user.headers) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 3
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert assert_problem(refused, 409)["type"] == "urn:llm-saas:problem:too-many-api-keys"
    made = next(answer for answer in answers if answer.status_code == 201).json()
    assert (await client.delete(f"/api-keys/{made['id']}", headers=acme.user.headers)).status_code == 204
    assert (await client.post("/api-keys", json=body, headers=acme.user.headers)).status_code == 201
    assert (await client.post("/api-keys", json=body, headers=acme.admin.headers)).status_code == 201


async def test_a_user_has_a_bounded_number_of_conversations(
    client: httpx.AsyncClient, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_service, "PER_USER", 2)

    async def make(**headers: str) -> httpx.Response:
        return await client.post("/conversations", json={}, headers={**acme.user.headers, **headers})

    first, second, third = await make(**{"Idempotency-Key": "once"}), await make(), await make()
    assert [first.status_code, second.status_code] == [201, 201]
    assert assert_problem(third, 409)["type"] == "urn:llm-saas:problem:too-many-conversations"
    assert (await make(**{"Idempotency-Key": "once"})).json()["id"] == first.json()["id"], "a replay makes none"
    assert (await client.delete(f"/conversations/{first.json()['id']}", headers=acme.user.headers)).status_code == 204
    assert (await make()).status_code == 201
    assert (await client.post("/conversations", json={}, headers=acme.admin.headers)).status_code == 201


async def test_a_tenant_has_a_bounded_number_of_open_invites(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invite_service, "OPEN_PER_TENANT", 2)
    emails = [unique_email() for _ in range(4)]

    async def ask(email: str) -> httpx.Response:
        return await client.post("/admin/invites", json={"email": email}, headers=acme.admin.headers)

    answers = await asyncio.gather(*(ask(email) for email in emails))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 2
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert assert_problem(refused, 409)["type"] == "urn:llm-saas:problem:too-many-invites"
    invited = next(answer for answer in answers if answer.status_code == 201).json()["email"]
    assert (await ask(invited)).status_code == 201, "in the place of the one that it has"
    other = await client.post("/admin/invites", json={"email": unique_email()}, headers=rival.admin.headers)
    assert other.status_code == 201


async def test_the_log_names_the_invite_that_was_used_and_its_sender(client: httpx.AsyncClient, acme: Tenant) -> None:
    email = unique_email()
    made = await invite(client, acme.admin, email)
    assert (await register(client, acme, email, made["token"])).status_code == 201
    log = (await client.get("/admin/audit-log?action=user.registered", headers=acme.admin.headers)).json()
    assert log[0]["details"] == {"role": "user", "invited": True, "invite_id": made["id"], "invited_by": acme.admin.id}
