"""Who may join a tenant: everybody, whoever was invited, nobody."""

import asyncio
import hashlib
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Member, Tenant, join, log_in, unique_email


async def set_registration(client: httpx.AsyncClient, tenant: Tenant, mode: str) -> None:
    body = {"registration": mode}
    answer = await client.patch(f"/tenants/{tenant.id}", json=body, headers=tenant.admin.headers)
    assert answer.json()["registration"] == mode


async def invite(client: httpx.AsyncClient, admin: Member, email: str, **more: object) -> dict[str, Any]:
    answer = await client.post("/admin/invites", json={"email": email, **more}, headers=admin.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def register(client: httpx.AsyncClient, tenant: Tenant, email: str, token: str | None = None) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, "tenant_id": tenant.id}
    return await client.post("/register", json=body | ({} if token is None else {"invite_token": token}))


def assert_refused(answer: httpx.Response, kind: str = "invite-required") -> None:
    assert assert_problem(answer, 403)["type"] == f"urn:llm-saas:problem:{kind}"


async def test_an_open_tenant_is_joined_with_and_without_an_invite(client: httpx.AsyncClient, acme: Tenant) -> None:
    assert (await register(client, acme, unique_email())).status_code == 201
    email = unique_email()
    made = await invite(client, acme.admin, email)
    assert_refused(await register(client, acme, email, "llmi_wrong"))
    assert (await register(client, acme, email, made["token"])).status_code == 201


async def test_a_closed_tenant_is_joined_by_nobody_but_its_admins_go_on_making_users(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    email = unique_email()
    made = await invite(client, acme.admin, email)
    await set_registration(client, acme, "closed")
    for token in (None, made["token"]):
        assert_refused(await register(client, acme, email, token), "registration-closed")
    body = {"email": email, "password": PASSWORD}
    assert (await client.post("/admin/users", json=body, headers=acme.admin.headers)).status_code == 201
    assert (await client.get("/me", headers=acme.user.headers)).status_code == 200


async def test_an_invited_email_joins_once_with_the_role_of_a_user(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await set_registration(client, acme, "invite")
    email = unique_email()
    assert_refused(await register(client, acme, email))
    made = await invite(client, acme.admin, email)

    row = await superuser.fetchrow("SELECT * FROM invites WHERE id = $1", made["id"])
    assert row["token_hash"] == hashlib.sha256(made["token"].encode()).hexdigest()
    assert made["token"] not in repr(dict(row))
    listed = await client.get("/admin/invites", headers=acme.admin.headers)
    assert made["token"] not in listed.text
    assert listed.json() == [{name: made[name] for name in made if name != "token"}]

    answer = await register(client, acme, email, made["token"])
    assert (answer.status_code, answer.json()["role"]) == (201, "user")
    assert (await client.get("/admin/invites", headers=acme.admin.headers)).json() == []
    assert_refused(await register(client, acme, unique_email(), made["token"]))
    await client.delete(f"/admin/users/{answer.json()['id']}", headers=acme.admin.headers)
    assert_refused(await register(client, acme, email, made["token"]))


async def test_an_invite_is_for_its_email_in_every_spelling_and_no_other(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    await set_registration(client, acme, "invite")
    local = f"Straße.Ünï.{new_id()}"
    made = await invite(client, acme.admin, f"  {local}@BÜCHER.example ")
    for other in (unique_email(), f"x{local}@bücher.example", f"{local}@bucher.example"):
        assert_refused(await register(client, acme, other, made["token"]))

    spelled = f"\uff33{local[1:].upper()}@XN--BCHER-KVA.example"  # a fullwidth S, and the domain in ASCII
    answer = await register(client, acme, spelled, made["token"])

    assert answer.status_code == 201, answer.text
    assert answer.json()["email"] == made["email"]
    await log_in(client, f"{local}@bücher.example")


async def test_every_refusal_of_an_invite_is_the_same(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    await set_registration(client, acme, "invite")
    email = unique_email()
    foreign = await invite(client, rival.admin, email)
    revoked = await invite(client, acme.admin, email)
    path = f"/admin/invites/{revoked['id']}"
    for other in (acme.user.headers, rival.admin.headers):
        assert_problem(await client.delete(path, headers=other), 403, 404)
    assert (await client.delete(path, headers=acme.admin.headers)).status_code == 204
    assert_problem(await client.delete(path, headers=acme.admin.headers), 404)
    expired = await invite(client, acme.admin, email)
    await superuser.execute("UPDATE invites SET expires_at = now() WHERE id = $1", expired["id"])
    assert (await client.get("/admin/invites", headers=acme.admin.headers)).json() == []

    tokens = [foreign["token"], revoked["token"], expired["token"], "", "x", "llmi_", expired["token"][:-1], None]
    answers = [await register(client, acme, email, token) for token in tokens]

    for answer in answers:
        assert_refused(answer)
    assert len({without_request_id(answer) for answer in answers}) == 1
    assert (await register(client, rival, email, foreign["token"])).status_code == 201


async def test_another_invite_of_an_email_takes_the_place_of_the_first(client: httpx.AsyncClient, acme: Tenant) -> None:
    await set_registration(client, acme, "invite")
    email = unique_email()
    first = await invite(client, acme.admin, email, expires_in_hours=1)
    second = await invite(client, acme.admin, email.upper(), expires_in_hours=720)

    (listed,) = (await client.get("/admin/invites", headers=acme.admin.headers)).json()
    assert listed["id"] == second["id"] != first["id"]
    assert second["expires_at"] > first["expires_at"]
    assert_problem(await client.delete(f"/admin/invites/{first['id']}", headers=acme.admin.headers), 404)
    assert_refused(await register(client, acme, email, first["token"]))
    assert (await register(client, acme, email, second["token"])).status_code == 201


async def test_an_expired_invite_is_replaced_too(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    email = unique_email()
    first = await invite(client, acme.admin, email)
    await superuser.execute("UPDATE invites SET expires_at = now() WHERE id = $1", first["id"])
    second = await invite(client, acme.admin, email)
    assert (await register(client, acme, email, second["token"])).status_code == 201


async def test_a_failed_registration_does_not_use_the_invite_up(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    await set_registration(client, acme, "invite")
    member = await join(client, rival.id)
    made = await invite(client, acme.admin, member.email)

    assert_problem(await register(client, acme, member.email, made["token"]), 409)

    await client.delete(f"/admin/users/{member.id}", headers=rival.admin.headers)
    assert (await register(client, acme, member.email, made["token"])).status_code == 201


async def test_of_thirty_registrations_at_once_an_invite_lets_one_in(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await set_registration(client, acme, "invite")
    email = unique_email()
    token = (await invite(client, acme.admin, email))["token"]
    others = [unique_email() for _ in range(15)]
    emails = [address for pair in zip(others, [email] * 15, strict=True) for address in pair]

    answers = await asyncio.gather(*(register(client, acme, address, token) for address in emails))

    assert sorted(answer.status_code for answer in answers) == [201] + [403] * 29
    count = "SELECT count(*) FROM users WHERE tenant_id = $1"
    assert await superuser.fetchval(count, acme.id) == 3
    assert await superuser.fetchval("SELECT count(*) FROM users WHERE email = $1", email) == 1


async def test_invites_are_the_admins_of_the_tenant(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    made = await invite(client, acme.admin, unique_email())
    for method, path, body in (
        ("POST", "/admin/invites", {"email": unique_email()}),
        ("GET", "/admin/invites", None),
        ("DELETE", f"/admin/invites/{made['id']}", None),
    ):
        assert_problem(await client.request(method, path, json=body, headers=acme.user.headers), 403)
    assert (await client.get("/admin/invites", headers=rival.admin.headers)).json() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": None},
        {"email": "no address"},
        {"email": "Somebody <a@acme.com>"},
        {"email": f"{'x' * 400}@acme.com"},
        {"email": "a\x00b@acme.com"},
        {"email": "a@acme.com", "expires_in_hours": 0},
        {"email": "a@acme.com", "expires_in_hours": 721},
        {"email": "a@acme.com", "expires_in_hours": 1.5},
        {"email": "a@acme.com", "role": "admin"},
        {"email": "a@acme.com", "tenant_id": "x"},
    ],
)
async def test_a_bad_invite_is_bad_input(client: httpx.AsyncClient, acme: Tenant, body: dict[str, object]) -> None:
    assert_problem(await client.post("/admin/invites", json=body, headers=acme.admin.headers), 422)
