"""Sessions that begin, go on and end at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import bcrypt
import httpx
import pytest
from sqlalchemy import URL

from tests.conftest import dsn
from tests.helpers import PASSWORD, Tenant
from tests.sessions import Session, actions_of, begin, refresh, rows_of, status_of
from tests.waiting import until

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
CHANGED = "UPDATE users SET token_version = token_version + 1 WHERE id = $1"
DISABLED = "UPDATE users SET disabled_at = now() WHERE id = $1"
ENDED = "DELETE FROM sessions WHERE user_id = $1"


@asynccontextmanager
async def held_open(database_url: URL, user_id: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Another request's statements, done but not committed before the block ends."""
    connection = await asyncpg.connect(dsn(database_url))
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement, user_id)
            yield connection
    finally:
        await connection.close()


async def waits_or_is_done(superuser: asyncpg.Connection, task: "asyncio.Task[httpx.Response]") -> None:
    async def waits() -> bool:
        return task.done() or bool(await superuser.fetchval(WAITING))

    await until(waits, "the request to wait for a lock, or to end")


@pytest.mark.parametrize("change", [CHANGED, DISABLED], ids=["password", "disabled"])
async def test_no_session_outlives_a_change_that_a_login_overlapped(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant, change: str
) -> None:
    async with held_open(database_url, acme.user.id, change, ENDED):
        body = {"email": acme.user.email, "password": PASSWORD}
        login = asyncio.create_task(client.post("/login", json=body))
        await waits_or_is_done(superuser, login)
    answer = await login
    await superuser.execute("UPDATE users SET disabled_at = NULL WHERE id = $1", acme.user.id)

    assert answer.status_code == 401
    assert await rows_of(superuser, acme.user.id) == []


async def test_a_hash_upgrade_does_not_undo_a_password_change(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant
) -> None:
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await superuser.execute("UPDATE users SET hashed_password = $1 WHERE id = $2", old, acme.user.id)
    new = bcrypt.hashpw(b"another horse battery", bcrypt.gensalt(4)).decode()
    change = f"UPDATE users SET token_version = token_version + 1, hashed_password = '{new}' WHERE id = $1"
    body = {"email": acme.user.email, "password": PASSWORD}
    async with held_open(database_url, acme.user.id, change):
        login = asyncio.create_task(client.post("/login", json=body))
        await waits_or_is_done(superuser, login)

    assert (await login).status_code == 401
    assert await superuser.fetchval("SELECT hashed_password FROM users WHERE id = $1", acme.user.id) == new


async def test_a_refresh_that_a_logout_overtakes_is_refused_and_is_no_reuse(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant
) -> None:
    session = await begin(client, acme.user)
    async with held_open(database_url, acme.user.id, ENDED):
        refreshed = asyncio.create_task(refresh(client, session.refresh))
        await waits_or_is_done(superuser, refreshed)

    assert (await refreshed).status_code == 401
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_of_refreshes_and_a_disabling_at_once_nothing_is_left(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    path, admin = f"/admin/users/{acme.user.id}", acme.admin.headers
    for _ in range(10):
        sessions = [await begin(client, acme.user) for _ in range(5)]
        results = await asyncio.gather(
            *(refresh(client, session.refresh) for session in sessions[:3]),
            client.patch(path, json={"disabled": True}, headers=admin),
            *(refresh(client, session.refresh) for session in sessions[3:]),
        )
        assert {answer.status_code for answer in results} <= {200, 401}
        assert await rows_of(superuser, acme.user.id) == []
        enabled = await client.patch(path, json={"disabled": False}, headers=admin)
        assert enabled.status_code == 200
        for answer in (answer for answer in results if "refresh_token" in answer.text):
            session = Session.of(answer)
            assert await status_of(client, session.access) == 401
            assert (await refresh(client, session.refresh)).status_code == 401
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_of_two_password_changes_at_once_one_is_made(client: httpx.AsyncClient, acme: Tenant) -> None:
    session = await begin(client, acme.user)
    wanted = ["first horse battery", "second horse battery"]
    bodies = [{"current_password": PASSWORD, "new_password": new} for new in wanted]
    changes = [client.put("/me/password", json=body, headers=session.headers) for body in bodies]
    answers = await asyncio.gather(*changes)

    assert sorted(answer.status_code for answer in answers) == [204, 401]
    logins = [
        (await client.post("/login", json={"email": acme.user.email, "password": password})).status_code
        for password in (PASSWORD, *wanted)
    ]
    assert sorted(logins) == [200, 401, 401]
    assert logins[0] == 401
    assert await status_of(client, session.access) == 401
