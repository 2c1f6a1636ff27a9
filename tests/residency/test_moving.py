"""A tenant moves to another region: nothing is lost, nobody else is touched, and a mover may be killed anywhere."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from app.cli import move_tenant
from app.core.ids import new_id
from app.residency import move
from app.residency.move import MoveGaveUp, TenantMove
from tests.api.problems import assert_problem
from tests.committed.providers import HeldProvider
from tests.helpers import PASSWORD, Tenant, log_in, send
from tests.residency.regions import Two, new_key, tenant_in
from tests.sessions import refresh, status_of
from tests.waiting import PATIENCE_SECONDS, until

BOUNDARIES = [
    (name, when)
    for name in ("_note", "copy_pass", "_set", "_freeze", "_keep_frozen", "_flip", "_settle")
    for when in ("before", "after")
]


class Killed(BaseException):
    """As `kill -9`: nobody handles it."""


@pytest.fixture
async def service(two: Two) -> AsyncIterator[httpx.AsyncClient]:
    async with two.service() as (_, client):
        yield client


async def run(two: Two, tenant: Tenant, region: str = "us", window: float = PATIENCE_SECONDS) -> str:
    arguments = argparse.Namespace(tenant_id=tenant.id, region=region, window=window)
    return await move_tenant(arguments, two.settings())


async def furnish(client: httpx.AsyncClient, tenant: Tenant) -> dict[str, Any]:
    """Something in most tables; credentials of each kind."""
    user, admin = tenant.user.headers, tenant.admin.headers
    await client.put("/admin/budget", json={"limit_micro_usd": 10**9}, headers=admin)
    conversation = await client.post("/conversations", json={"title": "On moving"}, headers=user)
    body = {"content": "Whither?", "conversation_id": conversation.json()["id"]}
    for more in ({}, {}, {"tools": [{"name": "map", "parameters": {"type": "object"}}]}):
        assert (await client.post("/messages", json=body | more, headers=user)).status_code == 201
    own = await client.put(
        "/admin/providers/openai", params={"test": False}, json={"api_key": "sk-0123456789"}, headers=admin
    )
    assert own.status_code == 200, own.text
    await client.delete(f"/messages/{(await send(client, tenant.user))['id']}", headers=user)
    await client.post("/admin/invites", json={"email": "guest@acme.com"}, headers=admin)
    await client.get("/usage", headers=admin)
    login = await client.post("/login", json={"email": tenant.user.email, "password": PASSWORD})
    return {"key": await new_key(client, tenant.user), "refresh": login.json()["refresh_token"]}


async def add_document(two: Two, region: str, tenant: Tenant) -> None:
    """As an ingestion leaves it."""
    names, document = {"tenant": tenant.id, "user": tenant.user.id}, new_id()
    for statement in (
        (
            "INSERT INTO documents (id, tenant_id, user_id, name, media_type, content_hash, bytes, status, current)"
            " VALUES ('{document}', '{tenant}', '{user}', 'atlas', 'text/plain', 'x', 6, 'ready', true)"
        ),
        "INSERT INTO document_contents (tenant_id, document_id, text) VALUES ('{tenant}', '{document}', 'Hither')",
        (
            'INSERT INTO document_chunks (id, tenant_id, document_id, n, start, "end", tokens, text)'
            " VALUES ('{document}', '{tenant}', '{document}', 0, 0, 6, 2, 'Hither')"
        ),
        (
            "INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding)"
            " VALUES ('{tenant}', 'm', '{document}', '{document}', '[0.25,0.5]')"
        ),
        (
            "INSERT INTO chunk_terms (tenant_id, chunk_id, document_id, terms)"
            " VALUES ('{tenant}', '{document}', '{document}', '{{7:1.5}}/1048576')"
        ),
    ):
        await two.superusers[region].execute(statement.format(document=document, **names))


async def rows(two: Two, region: str, tenant_id: str) -> dict[str, list[str]]:
    """All that the tenant owns, but for what the move sets."""
    superuser, found = two.superusers[region], {}
    for table in await two.count(region, tenant_id):
        column = "id" if table == "tenants" else "tenant_id"
        query = f"SELECT to_jsonb(t) - '{{moving,moving_until}}'::text[] FROM {table} t WHERE {column} = $1"
        shown = [json.loads(row) for (row,) in await superuser.fetch(query, tenant_id)]
        found[table] = sorted(json.dumps(row, sort_keys=True) for row in shown)
    return found


async def test_a_tenant_moves_as_it_is_and_its_credentials_with_it(two: Two, service: httpx.AsyncClient) -> None:
    acme, rival = await tenant_in(service, "eu"), await tenant_in(service, "eu")
    credentials = await furnish(service, acme)
    await furnish(service, rival)
    for tenant in (acme, rival):
        await add_document(two, "eu", tenant)
    before, others = await rows(two, "eu", acme.id), await rows(two, "eu", rival.id)
    assert before.keys() >= {"message_contents", "provider_keys", "tenant_data_keys"}

    said = await run(two, acme)

    assert "lives in us" in said
    assert await rows(two, "us", acme.id) == before
    assert await two.count("eu", acme.id) == {}
    assert await rows(two, "eu", rival.id) == others
    assert await two.count("us", rival.id) == {}
    for credential in (acme.admin.token, acme.user.token, credentials["key"]):
        # This process remembers the tenant where it was, and is told once.
        await until(lambda credential=credential: _is_let_in(service, credential), "the process to find the tenant")
    assert (await refresh(service, credentials["refresh"])).status_code == 200
    await send(service, await log_in(service, acme.user.email))
    assert (await two.count("us", acme.id))["messages"] == 4

    assert "0 rows" in await run(two, acme)  # again
    await run(two, acme, "eu")
    assert await two.count("us", acme.id) == {}
    await until(lambda: _is_let_in(service, acme.admin.token), "the process to find the tenant")


async def test_under_load_no_message_is_lost_and_who_reads_reads_on(two: Two, service: httpx.AsyncClient) -> None:
    acme, rival = await tenant_in(service, "eu"), await tenant_in(service, "eu")
    accepted: list[str] = []
    refused: list[httpx.Response] = []
    over = asyncio.Event()

    async def write(tenant: Tenant) -> None:
        while not over.is_set():
            answer = await service.post("/messages", json={"content": "Hello"}, headers=tenant.user.headers)
            if answer.status_code == 201 and tenant is acme:
                accepted.append(answer.json()["id"])
            elif answer.status_code != 201:
                assert tenant is acme
                refused.append(answer)
                await asyncio.sleep(0.01)

    async def read() -> None:
        while not over.is_set():
            answer = await service.get("/messages", headers=acme.user.headers)
            if answer.status_code != 200:
                refused.append(answer)
            await asyncio.sleep(0.01)

    writers = [asyncio.create_task(work) for work in (write(acme), write(acme), write(rival), read())]
    await until(lambda: len(accepted) > 20, "messages to be written")
    await run(two, acme)
    moved = len(accepted)
    await until(lambda: len(accepted) > moved + 20, "messages to be written again")
    over.set()
    await asyncio.gather(*writers)

    for answer in refused:
        assert assert_problem(answer, 503)["type"] == "urn:llm-saas:problem:tenant-moving"
        assert answer.headers["Retry-After"] == "1"
    stored = await two.superusers["us"].fetch("SELECT id FROM messages WHERE tenant_id = $1", acme.id)
    assert {row["id"] for row in stored} >= set(accepted)
    assert await two.count("eu", acme.id) == {}
    assert await two.count("us", rival.id) == {}


async def test_a_mover_that_is_killed_anywhere_is_followed_by_the_next(two: Two, service: httpx.AsyncClient) -> None:
    for name, when in BOUNDARIES:
        acme = await tenant_in(service, "eu")
        await send(service, acme.user)
        before = await rows(two, "eu", acme.id)

        with killing(name, when), pytest.raises(Killed):
            await run(two, acme)
        # Wherever it was: no two places let anybody write.
        open_places = [region for region in ("eu", "us") if await _is_open(two, region, acme.id)]
        assert len(open_places) <= 1, (name, when)
        await run(two, acme)

        assert await rows(two, "us", acme.id) == before, (name, when)
        assert await two.count("eu", acme.id) == {}, (name, when)
        assert await _is_open(two, "us", acme.id), (name, when)


async def test_what_went_since_an_earlier_copy_is_not_in_the_next(two: Two, service: httpx.AsyncClient) -> None:
    acme = await tenant_in(service, "eu")
    await furnish(service, acme)
    message = await send(service, acme.admin)
    with killing("copy_pass", "after"), pytest.raises(Killed):
        await run(two, acme)
    admin = acme.admin.headers
    assert (await service.delete(f"/messages/{message['id']}", headers=admin)).status_code == 204
    assert (await service.delete(f"/admin/users/{acme.user.id}", headers=admin)).status_code == 204
    again = {"email": acme.user.email, "password": PASSWORD, "tenant_id": acme.id}
    assert (await service.post("/register", json=again)).status_code == 201
    assert (await service.post("/admin/invites", json={"email": "guest@acme.com"}, headers=admin)).status_code == 201
    before = await rows(two, "eu", acme.id)

    await run(two, acme)

    assert await rows(two, "us", acme.id) == before


async def test_a_freeze_ends_by_itself_when_its_mover_is_gone(two: Two, service: httpx.AsyncClient) -> None:
    acme = await tenant_in(service, "eu")
    with killing("_freeze", "after"), pytest.raises(Killed):
        await run(two, acme)
    assert (await service.get("/me", headers=acme.user.headers)).status_code == 200
    problem = assert_problem(await service.post("/messages", json={"content": "Hi"}, headers=acme.user.headers), 503)
    assert problem["type"] == "urn:llm-saas:problem:tenant-moving"
    await two.superusers["eu"].execute("UPDATE tenants SET moving_until = now() WHERE id = $1", acme.id)
    await send(service, acme.user)


async def test_a_freeze_that_ended_too_soon_flips_nothing(
    two: Two, service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await tenant_in(service, "eu")
    keep = TenantMove._keep_frozen

    async def late(self: TenantMove, source: Any) -> None:
        await two.superusers["eu"].execute("UPDATE tenants SET moving_until = now() WHERE id = $1", acme.id)
        await keep(self, source)

    monkeypatch.setattr(TenantMove, "_keep_frozen", late)
    with pytest.raises(MoveGaveUp, match="took longer"):
        await run(two, acme)
    await send(service, acme.user)
    assert await two.superusers["eu"].fetchval("SELECT region FROM directory_tenants WHERE id = $1", acme.id) == "eu"


async def test_while_a_message_runs_a_move_waits_and_gives_up_at_the_end_of_its_window(two: Two) -> None:
    provider = HeldProvider()
    async with two.service() as (app, service):
        acme = await tenant_in(service, "eu")
        app.state.container.engine.llm._provider = provider
        running = asyncio.create_task(send(service, acme.user))
        await until(lambda: provider.calls, "the provider to be asked")
        with pytest.raises(MoveGaveUp, match="1 messages still run"):
            await run(two, acme, window=0.1)
        provider.release.set()
        await running
        await send(service, acme.user)
        # Nothing is left behind of it: the tenant's own erasure would not reach it there.
        assert await two.count("us", acme.id) == {}
        await run(two, acme)
        assert (await two.count("us", acme.id))["messages"] == 2


async def test_nothing_is_left_of_a_tenant_that_is_erased_while_it_moves(two: Two, service: httpx.AsyncClient) -> None:
    acme = await tenant_in(service, "eu")
    await send(service, acme.user)
    with killing("copy_pass", "after"), pytest.raises(Killed):
        await run(two, acme)
    erased = await service.delete(f"/tenants/{acme.id}", params={"name": acme.name}, headers=acme.admin.headers)
    assert erased.status_code == 204, erased.text
    assert await two.count("us", acme.id) != {}

    with pytest.raises(MoveGaveUp, match="erased"):
        await run(two, acme)

    assert await two.count("us", acme.id) == {}
    assert not await two.superusers["eu"].fetchval("SELECT count(*) FROM directory_tenants WHERE id = $1", acme.id)


@contextmanager
def killing(name: str, when: str) -> Iterator[None]:
    """Let the mover die before or after it does this for the first time."""
    owner: Any = move if name == "copy_pass" else TenantMove
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def dying(*args: Any, **named: Any) -> Any:
        if when == "after":
            await original(*args, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        yield


async def _is_let_in(client: httpx.AsyncClient, credential: str) -> bool:
    status = await status_of(client, credential)
    assert status in (200, 503)
    return status == 200


async def _is_open(two: Two, region: str, tenant_id: str) -> bool:
    found = await two.superusers[region].fetchval(
        "SELECT erasing_at IS NULL AND (moving IS NULL OR moving_until < now()) FROM tenants WHERE id = $1", tenant_id
    )
    return bool(found)
