"""What admins do to users: roles, disabling, deletion."""

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Member, Tenant, join, log_in, send, unique_email
from tests.sessions import actions_of, status_of


async def second_admin(client: httpx.AsyncClient, tenant: Tenant) -> Member:
    body = {"email": unique_email("admin"), "password": PASSWORD, "role": "admin"}
    assert (await client.post("/admin/users", json=body, headers=tenant.admin.headers)).status_code == 201
    return await log_in(client, body["email"])


LOSING = [("PATCH", {"role": "user"}), ("PATCH", {"disabled": True}), ("DELETE", None)]
LOSING_IDS = ["demoted", "disabled", "deleted"]


@pytest.mark.parametrize(("method", "body"), [*LOSING, ("PATCH", {"role": "user", "disabled": True})])
async def test_the_last_admin_cannot_go(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, method: str, body: object
) -> None:
    path, before = f"/admin/users/{acme.admin.id}", await actions_of(superuser, acme.id)

    problem = assert_problem(await client.request(method, path, json=body, headers=acme.admin.headers), 409)

    assert problem["type"] == "urn:llm-saas:problem:last-admin"
    assert await status_of(client, acme.admin.token) == 200
    assert await actions_of(superuser, acme.id) == before


@pytest.mark.parametrize(("method", "body"), LOSING, ids=LOSING_IDS)
async def test_a_disabled_admin_does_not_count_as_one(
    client: httpx.AsyncClient, acme: Tenant, method: str, body: object
) -> None:
    second = await second_admin(client, acme)
    headers = acme.admin.headers
    disabled = await client.patch(f"/admin/users/{second.id}", json={"disabled": True}, headers=headers)
    assert disabled.status_code == 200

    path = f"/admin/users/{acme.admin.id}"
    assert_problem(await client.request(method, path, json=body, headers=headers), 409)
    gone = await client.delete(f"/admin/users/{second.id}", headers=headers)
    assert gone.status_code == 204, "a disabled one may go"


@pytest.mark.parametrize(("method", "body"), LOSING, ids=LOSING_IDS)
async def test_one_of_two_admins_may_go_of_itself(
    client: httpx.AsyncClient, acme: Tenant, method: str, body: object
) -> None:
    second = await second_admin(client, acme)
    path = f"/admin/users/{acme.admin.id}"
    assert (await client.request(method, path, json=body, headers=acme.admin.headers)).is_success
    assert await status_of(client, acme.admin.token) == 401
    assert (await client.get("/admin/budget", headers=second.headers)).status_code == 200
    path = f"/admin/users/{second.id}"
    assert_problem(await client.request(method, path, json=body, headers=second.headers), 409)


async def test_only_what_is_named_changes(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    path = f"/admin/users/{acme.user.id}"
    as_it_was = (await client.get("/me", headers=acme.user.headers)).json()
    before = await actions_of(superuser, acme.id)
    for body in ({}, {"role": None}, {"role": None, "disabled": None}, {"role": "user"}, {"disabled": False}):
        answer = await client.patch(path, json=body, headers=acme.admin.headers)
        assert (answer.status_code, answer.json()) == (200, as_it_was)
    assert await status_of(client, acme.user.token) == 200
    assert await actions_of(superuser, acme.id) == before, "what changed nothing is not noted"

    answer = await client.patch(path, json={"role": "admin", "disabled": True}, headers=acme.admin.headers)
    assert (answer.json()["role"], answer.json()["disabled_at"] is None) == ("admin", False)
    answer = await client.patch(path, json={"disabled": False}, headers=acme.admin.headers)
    assert answer.json() == {**as_it_was, "role": "admin"}


@pytest.mark.parametrize(
    "body", [{"role": "root"}, {"role": 5}, {"disabled": "maybe"}, {"email": "a@acme.com"}, {"token_version": 1}, []]
)
async def test_a_bad_change_is_bad_input(client: httpx.AsyncClient, acme: Tenant, body: object) -> None:
    path = f"/admin/users/{acme.user.id}"
    assert_problem(await client.patch(path, json=body, headers=acme.admin.headers), 422)


async def test_a_foreign_user_is_as_none(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    for method, body in LOSING:
        answers = [
            await client.request(method, f"/admin/users/{user_id}", json=body, headers=acme.admin.headers)
            for user_id in (rival.user.id, rival.admin.id, new_id(), "no-id", "%00")
        ]
        for answer in answers:
            assert_problem(answer, 404)
        assert len({without_request_id(answer) for answer in answers}) == 1
        assert_problem(
            await client.request(method, f"/admin/users/{acme.admin.id}", json=body, headers=acme.user.headers), 403
        )
    assert await status_of(client, rival.user.token) == 200
    assert await status_of(client, acme.admin.token) == 200


async def test_a_deleted_user_takes_what_is_its_own_and_leaves_what_it_used(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    member = await join(client, acme.id)
    talk = (await client.post("/conversations", json={"title": "x"}, headers=member.headers)).json()["id"]
    for author in (member, acme.admin, member):
        body = {"content": "Hello", "conversation_id": talk}
        assert (await client.post("/messages", json=body, headers=author.headers)).status_code == 201
    alone = await send(client, member)
    kept = await send(client, acme.user)
    await client.put(f"/admin/users/{member.id}/budget", json={"limit_micro_usd": 10**9}, headers=acme.admin.headers)
    key = {"name": "x", "scopes": ["messages:read"]}
    await client.post("/api-keys", json=key, headers=member.headers)
    usage = (await client.get("/usage?group_by=user", headers=acme.admin.headers)).json()

    deleted = await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)

    assert (deleted.status_code, deleted.content) == (204, b"")
    listed = (await client.get("/messages", headers=acme.admin.headers)).json()
    assert [row["id"] for row in listed] == [kept["id"]]
    assert (await client.get("/conversations", headers=acme.admin.headers)).json() == []
    assert_problem(await client.get(f"/messages/{alone['id']}", headers=acme.admin.headers), 404)
    for table in ("messages", "conversations", "sessions", "api_keys", "budgets", "idempotency_keys"):
        assert await superuser.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", member.id) == 0
    assert (await client.get("/usage?group_by=user", headers=acme.admin.headers)).json() == usage
    assert (await actions_of(superuser, acme.id))[-1] == "user.deleted"
    assert_problem(await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers), 404)
    again = {"email": member.email, "password": PASSWORD, "tenant_id": acme.id}
    assert (await client.post("/register", json=again)).status_code == 201, "its email is free"


async def test_the_log_outlives_whom_it_names(client: httpx.AsyncClient, acme: Tenant) -> None:
    member = await join(client, acme.id)
    await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)
    log = (await client.get(f"/admin/audit-log?target_id={member.id}", headers=acme.admin.headers)).json()
    assert [entry["action"] for entry in log] == ["user.deleted", "session.begun", "user.registered"]
    assert log[0]["details"] == {"email": member.email}
