"""What ends a session: logging out, a changed password, an admin; from the next request on."""

import asyncpg
import httpx
import pytest

from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Tenant, join, log_in
from tests.sessions import Session, actions_of, begin, refresh, status_of

NEW_PASSWORD = "another horse battery"


async def change_user(client: httpx.AsyncClient, tenant: Tenant, user_id: str, **changes: object) -> httpx.Response:
    return await client.patch(f"/admin/users/{user_id}", json=changes, headers=tenant.admin.headers)


async def is_over(client: httpx.AsyncClient, session: Session) -> bool:
    """Both tokens are refused."""
    answer = await refresh(client, session.refresh)
    refused = answer.status_code == 401
    assert refused == (await status_of(client, session.access) == 401)
    return refused


@pytest.mark.parametrize("body", [None, {}, {"everywhere": False}])
async def test_logging_out_ends_this_session_alone(
    client: httpx.AsyncClient, acme: Tenant, body: dict[str, bool] | None
) -> None:
    mine, other = await begin(client, acme.user), await begin(client, acme.user)

    answer = await client.post("/logout", json=body, headers=mine.headers)

    assert (answer.status_code, answer.content) == (204, b"")
    assert await is_over(client, mine)
    assert not await is_over(client, other)
    assert_problem(await client.post("/logout", headers=mine.headers), 401)


async def test_logging_out_everywhere_ends_all_sessions_of_the_user(client: httpx.AsyncClient, acme: Tenant) -> None:
    mine, other = await begin(client, acme.user), await begin(client, acme.user)
    admins = await begin(client, acme.admin)

    assert (await client.post("/logout", json={"everywhere": True}, headers=mine.headers)).status_code == 204

    assert await is_over(client, mine)
    assert await is_over(client, other)
    assert not await is_over(client, admins)


async def test_a_changed_password_ends_every_session_and_all_keys_unless_they_are_kept(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    mine, other = await begin(client, acme.user), await begin(client, acme.user)
    body = {"name": "k", "scopes": ["messages:read"]}
    key = (await client.post("/api-keys", json=body, headers=mine.headers)).json()["key"]
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD, "keep_api_keys": True}

    answer = await client.put("/me/password", json=change, headers=mine.headers)

    assert (answer.status_code, answer.content) == (204, b"")
    assert await is_over(client, mine)
    assert await is_over(client, other)
    assert await status_of(client, key) == 200
    assert (await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})).status_code == 401
    renewed = await begin(client, acme.user, NEW_PASSWORD)
    assert not await is_over(client, renewed)

    change = {"current_password": NEW_PASSWORD, "new_password": PASSWORD}
    assert (await client.put("/me/password", json=change, headers=renewed.headers)).status_code == 204
    assert await status_of(client, key) == 401


async def test_a_wrong_current_password_changes_and_ends_nothing(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    mine = await begin(client, acme.user)
    for wrong in ("wrong", "", PASSWORD.upper(), NEW_PASSWORD):
        change = {"current_password": wrong, "new_password": NEW_PASSWORD}
        problem = assert_problem(await client.put("/me/password", json=change, headers=mine.headers), 403)
        assert problem["type"] == "urn:llm-saas:problem:wrong-password"

    assert not await is_over(client, mine)
    await log_in(client, acme.user.email)
    assert "user.password_changed" not in await actions_of(superuser, acme.id)


@pytest.mark.parametrize("new", ["short", "x" * 4097, None, "nul\x00character"])
async def test_a_bad_new_password_is_bad_input(client: httpx.AsyncClient, acme: Tenant, new: str | None) -> None:
    change = {"current_password": PASSWORD, "new_password": new}
    assert_problem(await client.put("/me/password", json=change, headers=acme.user.headers), 422)


async def test_a_disabled_user_is_out_at_once_and_stays_out_when_enabled(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    body = {"email": acme.user.email, "password": PASSWORD}
    wrong = await client.post("/login", json={**body, "password": "wrong"})

    disabled = await change_user(client, acme, acme.user.id, disabled=True)

    assert disabled.status_code == 200
    assert disabled.json()["disabled_at"]
    assert await is_over(client, session)
    refused = await client.post("/login", json=body)
    assert_problem(refused, 401)
    assert without_request_id(refused) == without_request_id(wrong)
    again = await change_user(client, acme, acme.user.id, disabled=True)
    assert again.json()["disabled_at"] == disabled.json()["disabled_at"]

    enabled = await change_user(client, acme, acme.user.id, disabled=False)

    assert enabled.json()["disabled_at"] is None
    assert await is_over(client, session)
    assert await is_over(client, Session(acme.user.token, session.refresh, {}))
    assert not await is_over(client, await begin(client, acme.user))


async def test_a_user_disabled_in_the_database_alone_is_refused_like_any_bad_token(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    garbage = await refresh(client, "garbage")
    await superuser.execute("UPDATE users SET disabled_at = now() WHERE id = $1", acme.user.id)

    refused = await refresh(client, session.refresh)

    assert without_request_id(refused) == without_request_id(garbage)
    assert await status_of(client, session.access) == 401
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)
    await superuser.execute("UPDATE users SET disabled_at = NULL WHERE id = $1", acme.user.id)
    Session.of(await refresh(client, session.refresh))


async def test_a_changed_role_is_in_force_at_the_next_request_and_a_refresh_brings_it(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    assert (await client.get("/admin/budget", headers=session.headers)).status_code == 403

    for role, status in (("admin", 200), ("user", 403)):
        assert (await change_user(client, acme, acme.user.id, role=role)).json()["role"] == role
        assert await status_of(client, session.access) == 401, "its token names the old role"
        session = Session.of(await refresh(client, session.refresh))
        assert session.body["user"]["role"] == role
        assert (await client.get("/admin/budget", headers=session.headers)).status_code == status


async def test_a_deleted_user_is_out_at_once(client: httpx.AsyncClient, acme: Tenant) -> None:
    member = await join(client, acme.id)
    session = await begin(client, member)
    deleted = await client.delete(f"/admin/users/{member.id}", headers=acme.admin.headers)
    assert deleted.status_code == 204
    assert await is_over(client, session)
    assert (await client.post("/login", json={"email": member.email, "password": PASSWORD})).status_code == 401


async def test_what_needs_a_session_refuses_a_body_it_does_not_know(client: httpx.AsyncClient, acme: Tenant) -> None:
    for body in ({"everywhere": "x"}, {"user_id": acme.admin.id}, [], "x"):
        assert_problem(await client.post("/logout", json=body, headers=acme.user.headers), 422)
    assert await status_of(client, acme.user.token) == 200
