"""A password is hashed when nothing else can refuse the request any more, and in turn."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from app.core.security import PasswordHasher
from tests.api.problems import assert_problem
from tests.api.test_joining import set_registration
from tests.helpers import PASSWORD, Tenant, unique_email


@pytest.fixture
def hashed(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed or verified."""
    seen: list[str] = []
    run = PasswordHasher._run

    async def record(self: PasswordHasher, share: str, function: Callable[..., Any], *args: str) -> Any:
        seen.append(args[0])
        return await run(self, share, function, *args)

    monkeypatch.setattr(PasswordHasher, "_run", record)
    return seen


async def test_nothing_is_hashed_for_what_is_refused_anyway(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant, hashed: list[str]
) -> None:
    admin = acme.admin.headers
    taken = [acme.user.email, rival.admin.email]
    for email in taken:
        body = {"email": email, "password": PASSWORD}
        assert_problem(await client.post("/admin/users", json=body, headers=admin), 409)
        assert_problem(await client.post("/register", json={**body, "tenant_id": acme.id}), 409)
        assert_problem(await client.post("/create-tenant", json={"name": new_id(), "admin": body}), 409)
    fresh = {"email": unique_email(), "password": PASSWORD}
    assert_problem(await client.post("/create-tenant", json={"name": acme.name, "admin": fresh}), 409)
    assert_problem(await client.post("/register", json={**fresh, "tenant_id": new_id()}), 404)
    assert_problem(await client.post("/register", json={**fresh, "tenant_id": acme.id, "invite_token": "llmi_x"}), 403)
    for mode in ("invite", "closed"):
        await set_registration(client, acme, mode)
        assert_problem(await client.post("/register", json={**fresh, "tenant_id": acme.id}), 403)
    assert hashed == []


async def test_a_replay_hashes_nothing(client: httpx.AsyncClient, acme: Tenant, hashed: list[str]) -> None:
    body = {"email": unique_email(), "password": PASSWORD}
    headers = {**acme.admin.headers, "Idempotency-Key": new_id()}
    made = await client.post("/admin/users", json=body, headers=headers)
    assert len(hashed) == 1
    again = await client.post("/admin/users", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, made.json())
    assert_problem(await client.post("/admin/users", json={**body, "role": "admin"}, headers=headers), 422)
    assert len(hashed) == 1


@pytest.fixture
def slow_hasher(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PasswordHasher, threading.Semaphore, list[str]]]:
    """One thread, each of whose hashes waits until it is let through; and the order in which they were made."""
    monkeypatch.setattr("app.core.security.os.cpu_count", lambda: 1)
    hasher, let_through, made = PasswordHasher(4), threading.Semaphore(0), []

    def hash_slowly(password: str) -> str:
        let_through.acquire()
        made.append(password)
        return password

    monkeypatch.setattr(hasher._context, "hash", hash_slowly)
    yield hasher, let_through, made
    for _ in range(1000):
        let_through.release()
    hasher.close()


async def test_a_tenants_flood_of_hashes_lets_others_through(
    slow_hasher: tuple[PasswordHasher, threading.Semaphore, list[str]],
) -> None:
    hasher, let_through, made = slow_hasher
    flood = [asyncio.create_task(hasher.hash(f"flood {number}", "flooding")) for number in range(300)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(hasher.hash(name, name)) for name in ("one", "another")]
    await asyncio.sleep(0)
    let_through.release(4)
    await asyncio.wait(others)
    assert made[:4] == ["flood 0", "flood 1", "one", "another"]
    refused = [task for task in flood if task.done() and task.exception() is not None]
    assert len(refused) == 300 + 2 - 256 - 1, "the flood's own last"
    for _ in range(300):
        let_through.release()
    await asyncio.wait(flood)
