"""Who or what is deleted while a request about it runs: a clear answer, never a 500."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.core.ids import new_id
from app.db import rls
from tests.api.problems import assert_problem
from tests.conftest import dsn
from tests.helpers import PASSWORD, Member, Tenant, unique_email
from tests.statements import before_statements

DELETE_USER = "DELETE FROM users WHERE id = $1"
DELETE_TENANT = "DELETE FROM tenants WHERE id = $1"
NEW_PASSWORD = {"current_password": PASSWORD, "new_password": f"{PASSWORD}!"}


class Deletion:
    """A statement of somebody else that may have to wait."""

    def __init__(self, connection: asyncpg.Connection, watcher: asyncpg.Connection) -> None:
        self.connection, self._watcher = connection, watcher
        self.task: asyncio.Task[str] | None = None

    async def begin(self, sql: str, row_id: str) -> None:
        """Until it is done, or waits for a lock."""
        self.task = asyncio.create_task(self.connection.execute(sql, row_id))
        waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        while not self.task.done() and not await self._watcher.fetchval(waits, self.connection.get_server_pid()):
            await asyncio.sleep(0)

    async def end(self) -> None:
        assert self.task
        await self.task


@contextmanager
def once_entered(caller: Member, happens: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Let something happen between entering the tenant as the caller and the transaction's first statement."""
    left = [happens]
    enter = rls.GuardedConnection.enter

    async def enter_and_go_on(self: rls.GuardedConnection, entry: str) -> None:
        await enter(self, entry)
        if caller.id in entry and left:
            await left.pop()()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rls.GuardedConnection, "enter", enter_and_go_on)
        yield
    assert not left, "the tenant was never entered"


@contextmanager
def before_the_statement(part: str, happens: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Let something happen once before a statement that is not the first of its transaction."""
    left = [happens]

    async def run(statement: str) -> str:
        if part in statement and left:
            await left.pop()()
        return statement

    with before_statements(run):
        yield
    assert not left, "the statement was never issued"


@pytest.fixture
async def deletion(database_url: URL, superuser: asyncpg.Connection) -> AsyncIterator[Deletion]:
    deletion = Deletion(await asyncpg.connect(dsn(database_url)), superuser)
    yield deletion
    await deletion.connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/messages", {"content": "Hello"}),
        ("POST", "/conversations", {"title": "Talk"}),
        ("POST", "/api-keys", {"name": "a key", "scopes": ["messages:read"]}),
        ("PUT", "/me/password", NEW_PASSWORD),
    ],
)
async def test_a_caller_who_is_deleted_meanwhile_is_refused(
    client: httpx.AsyncClient,
    superuser: asyncpg.Connection,
    acme: Tenant,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    with once_entered(acme.user, lambda: superuser.execute(DELETE_USER, acme.user.id)):
        answer = await client.request(method, path, json=body, headers=acme.user.headers)
    assert_problem(answer, 401)


async def test_a_caller_who_is_disabled_while_its_password_is_looked_up_is_refused(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    disable = "UPDATE users SET disabled_at = now() WHERE id = $1"
    with before_the_statement("auth_lookup", lambda: superuser.execute(disable, acme.user.id)):
        answer = await client.put("/me/password", json=NEW_PASSWORD, headers=acme.user.headers)
    assert_problem(answer, 401)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"registration": "closed"})])
async def test_a_tenant_that_is_deleted_meanwhile_is_gone_for_its_admin(
    client: httpx.AsyncClient,
    superuser: asyncpg.Connection,
    acme: Tenant,
    method: str,
    body: dict[str, Any] | None,
) -> None:
    with once_entered(acme.admin, lambda: superuser.execute(DELETE_TENANT, acme.id)):
        answer = await client.request(method, f"/tenants/{acme.id}", json=body, headers=acme.admin.headers)
    assert_problem(answer, 401)


async def test_a_session_whose_user_is_deleted_meanwhile_is_not_begun(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    with once_entered(acme.user, lambda: superuser.execute(DELETE_USER, acme.user.id)):
        answer = await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})
    assert_problem(answer, 401)


async def test_a_session_that_is_continued_twice_while_its_user_is_deleted_ends(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    login = await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})
    body = {"refresh_token": login.json()["refresh_token"]}
    assert (await client.post("/refresh", json=body)).status_code == 200
    with before_the_statement("FROM users", lambda: superuser.execute(DELETE_USER, acme.user.id)):
        answer = await client.post("/refresh", json=body)
    assert_problem(answer, 401)


async def test_who_registers_finds_the_tenant_there_until_the_end(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, deletion: Deletion
) -> None:
    """The deletion waits for the new user, and takes it along."""
    with before_the_statement("INSERT INTO users", lambda: deletion.begin(DELETE_TENANT, acme.id)):
        body = {"email": unique_email(), "password": PASSWORD, "tenant_id": acme.id}
        answer = await client.post("/register", json=body)
    await deletion.end()

    assert answer.status_code == 201, answer.text
    assert await superuser.fetchval("SELECT count(*) FROM users WHERE tenant_id = $1", acme.id) == 0


async def test_a_key_whose_user_was_deleted_is_replayed_as_not_found(client: httpx.AsyncClient, acme: Tenant) -> None:
    body = {"email": unique_email(), "password": PASSWORD}
    headers = {**acme.admin.headers, "Idempotency-Key": new_id()}
    made = await client.post("/admin/users", json=body, headers=headers)
    await client.delete(f"/admin/users/{made.json()['id']}", headers=acme.admin.headers)

    assert_problem(await client.post("/admin/users", json=body, headers=headers), 404)


async def test_a_user_who_gets_a_budget_cannot_be_deleted_before_it_is_set(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, deletion: Deletion
) -> None:
    """The deletion waits for the budget, and takes it along."""
    with before_the_statement("pg_advisory_xact_lock", lambda: deletion.begin(DELETE_USER, acme.user.id)):
        answer = await client.put(
            f"/admin/users/{acme.user.id}/budget", json={"limit_micro_usd": 1}, headers=acme.admin.headers
        )
    await deletion.end()

    assert answer.status_code == 200, answer.text
    assert_problem(await client.get(f"/admin/users/{acme.user.id}/budget", headers=acme.admin.headers), 404)
