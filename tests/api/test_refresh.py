"""Refresh tokens: each serves once, and whoever uses one twice ends the session."""

import asyncio
import hashlib
from datetime import timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.credentials.opaque_tokens import session_of
from app.core.ids import new_id
from app.messages.sweeper import Expiry
from app.services import session_service
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Tenant, join
from tests.sessions import Session, actions_of, begin, refresh, rows_of, status_of


async def expire_grace(superuser: asyncpg.Connection, user_id: str) -> None:
    """Eleven seconds pass."""
    moved = "UPDATE sessions SET rotated_at = rotated_at - interval '11 seconds' WHERE user_id = $1"
    await superuser.execute(moved, user_id)


def secret_of(token: str) -> str:
    return token.removeprefix("llmr_").split("_", 1)[1]


async def test_a_refresh_gives_the_next_pair_and_the_user(client: httpx.AsyncClient, acme: Tenant) -> None:
    session = await begin(client, acme.user)
    following = Session.of(await refresh(client, session.refresh))

    assert following.body.keys() == session.body.keys()
    assert following.body["user"] == session.body["user"]
    assert following.body["refresh_expires_in"] == 30 * 24 * 3600
    assert following.refresh != session.refresh
    assert await status_of(client, following.access) == 200
    assert await status_of(client, session.access) == 200, "an access token lives until it expires"
    Session.of(await refresh(client, following.refresh))


async def test_no_refresh_token_is_stored(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    following = Session.of(await refresh(client, session.refresh))

    rows = [row for row in await rows_of(superuser, acme.user.id) if row["previous_hash"]]
    assert len(rows) == 1
    stored = repr(dict(rows[0]))
    assert secret_of(session.refresh) not in stored
    assert secret_of(following.refresh) not in stored
    assert rows[0]["token_hash"] == hashlib.sha256(following.refresh.encode()).hexdigest()
    log = await superuser.fetch("SELECT * FROM audit_log WHERE tenant_id = $1", acme.id)
    assert "llmr_" not in repr([dict(row) for row in log])


async def test_of_fifty_refreshes_at_once_all_get_the_one_successor(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_service, "GRACE", timedelta(hours=1))  # however long fifty take
    member = await join(client, acme.id)
    await superuser.execute("DELETE FROM sessions WHERE user_id = $1", member.id)
    session = await begin(client, member)

    answers = await asyncio.gather(*(refresh(client, session.refresh) for _ in range(50)))

    successors = {Session.of(answer).refresh for answer in answers}
    assert len(successors) == 1
    rows = await rows_of(superuser, member.id)
    assert len(rows) == 1
    assert rows[0]["token_hash"] == hashlib.sha256(successors.pop().encode()).hexdigest()
    assert {await status_of(client, Session.of(answer).access) for answer in answers} == {200}
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_again_within_the_grace_gets_the_same_successor(client: httpx.AsyncClient, acme: Tenant) -> None:
    session = await begin(client, acme.user)
    first, second = [Session.of(await refresh(client, session.refresh)) for _ in range(2)]
    assert first.refresh == second.refresh
    Session.of(await refresh(client, first.refresh))


async def test_reuse_after_the_grace_ends_the_session_for_both(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    other = await begin(client, acme.user)
    stolen = await begin(client, acme.user)
    newest = Session.of(await refresh(client, stolen.refresh))
    await expire_grace(superuser, acme.user.id)

    assert_problem(await refresh(client, stolen.refresh), 401)

    assert await status_of(client, newest.access) == 401
    assert await status_of(client, stolen.access) == 401
    assert_problem(await refresh(client, newest.refresh), 401)
    assert await status_of(client, other.access) == 200, "the user's other sessions are not concerned"
    actions = await actions_of(superuser, acme.id)
    assert actions.count("session.reuse_detected") == 1


async def test_a_token_two_generations_old_ends_the_session(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    first = await begin(client, acme.user)
    second = Session.of(await refresh(client, first.refresh))
    third = Session.of(await refresh(client, second.refresh))

    assert_problem(await refresh(client, first.refresh), 401)

    assert_problem(await refresh(client, third.refresh), 401)
    assert await status_of(client, third.access) == 401
    assert "session.reuse_detected" in await actions_of(superuser, acme.id)


async def test_an_old_token_sent_after_a_logout_is_no_reuse(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    first = await begin(client, acme.user)
    second = Session.of(await refresh(client, first.refresh))
    assert (await client.post("/logout", headers=second.headers)).status_code == 204

    for token in (first.refresh, second.refresh):
        assert_problem(await refresh(client, token), 401)
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_every_refusal_is_the_same_and_leaves_the_session_alone(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    digits, secret = session.refresh.removeprefix("llmr_").split("_", 1)
    other_last = "A" if secret[-1] != "A" else "B"
    wrong = [
        "",
        "x",
        "llmr_",
        session.refresh[:-1],
        f"{session.refresh}A",
        f" {session.refresh}",
        f"{session.refresh}\n",
        session.refresh.upper(),
        session.refresh.replace("llmr_", "llms_"),
        session.refresh.replace("llmr_", "llmi_"),
        f"llmr_{new_id().replace('-', '')}_{secret}",
        f"llmr_{digits}_{'A' * len(secret)}",
        f"llmr_{digits}_{secret[:-1]}{other_last}",
        "\x00",
        "llmr_\u0661" + session.refresh[6:],
    ]
    answers = [await refresh(client, token) for token in wrong]
    member = await join(client, acme.id)
    ended, expired = await begin(client, member), await begin(client, member)
    await client.post("/logout", headers=ended.headers)
    await superuser.execute("UPDATE sessions SET expires_at = now() WHERE user_id = $1", member.id)
    answers += [await refresh(client, ended.refresh), await refresh(client, expired.refresh)]

    for answer in answers:
        assert_problem(answer, 401)
    assert len({without_request_id(answer) for answer in answers}) == 1
    assert await status_of(client, session.access) == 200
    Session.of(await refresh(client, session.refresh))
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": None}, {"refresh_token": 5}, {"refresh_token": "x" * 201}, [], {"refresh_token": []}]
)
async def test_a_body_without_a_refresh_token_is_bad_input(client: httpx.AsyncClient, body: object) -> None:
    assert_problem(await client.post("/refresh", json=body), 422)


async def test_an_expired_session_refuses_its_access_token_too(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    await superuser.execute("UPDATE sessions SET expires_at = now() WHERE user_id = $1", acme.user.id)
    assert await status_of(client, session.access) == 401


async def test_a_refresh_prolongs_the_session(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    soon = "UPDATE sessions SET expires_at = now() + interval '1 minute' WHERE user_id = $1"
    await superuser.execute(soon, acme.user.id)
    await refresh(client, session.refresh)
    left = "SELECT max(expires_at) - now() > interval '29 days' FROM sessions WHERE user_id = $1"
    assert await superuser.fetchval(left, acme.user.id)


async def test_a_session_ends_with_its_tenant(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    await superuser.execute("DELETE FROM tenants WHERE id = $1", acme.id)
    assert_problem(await refresh(client, session.refresh), 401)
    assert await status_of(client, session.access) == 401


async def test_a_user_has_a_hundred_sessions_at_most_and_the_oldest_end(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    member = await join(client, acme.id)  # logs in once
    sessions = [await begin(client, member) for _ in range(100)]

    assert len(await rows_of(superuser, member.id)) == 100
    assert await status_of(client, member.token) == 401
    assert await status_of(client, sessions[0].access) == 200
    body = {"email": member.email, "password": PASSWORD}
    answers = await asyncio.gather(*(client.post("/login", json=body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    await begin(client, member)
    assert len(await rows_of(superuser, member.id)) == 100
    assert len(await rows_of(superuser, acme.user.id)) == 1


async def test_expired_sessions_are_forgotten(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    member = await join(client, acme.id)
    await superuser.execute("UPDATE sessions SET expires_at = now() - interval '1 s' WHERE user_id = $1", member.id)
    await Expiry(app.state.container.database).forget()
    assert await rows_of(superuser, member.id) == []
    assert len(await rows_of(superuser, acme.user.id)) == 1


async def test_a_session_ends_however_often_it_is_refreshed(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    assert session.body["refresh_expires_in"] == 30 * 86400
    aged = "UPDATE sessions SET created_at = now() - interval '88 days' WHERE id = $1"
    await superuser.execute(aged, session_of(session.refresh))
    for _ in range(2):
        answer = await refresh(client, session.refresh)  # the second time within the grace
        assert abs(answer.json()["refresh_expires_in"] - 2 * 86400) < 3600
    last = Session.of(answer)
    # As after SESSION_EXPIRE_DAYS was lowered.
    await superuser.execute(aged.replace("88", "91"), session_of(session.refresh))
    assert_problem(await refresh(client, last.refresh), 401)
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)
