"""An export on its way to a client that is slow, that leaves, or that is not an admin any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.committed.conftest import Serve, all_given_back
from tests.committed.providers import HeldProvider
from tests.helpers import Tenant, make_tenant
from tests.statements import statements
from tests.waiting import until

# More than the buffers of both sides hold, in pages of two rows.
MESSAGES, OCTETS = 60, 700_000


@asynccontextmanager
async def large(
    listen: Serve, superuser: asyncpg.Connection
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient, Tenant]]:
    async with listen(HeldProvider()) as (app, client):
        acme = await make_tenant(client)
        await superuser.execute(
            "INSERT INTO messages (id, tenant_id, user_id, content, response, status)"
            " SELECT gen_random_uuid()::text, $1::text, $2::text, 'Hello', repeat('x', $4::int), 'completed'"
            " FROM generate_series(1, $3::int)",
            acme.id,
            acme.user.id,
            MESSAGES,
            OCTETS,
        )
        yield app, client, acme


def export(client: httpx.AsyncClient, tenant: Tenant) -> AbstractAsyncContextManager[httpx.Response]:
    return client.stream("GET", f"/tenants/{tenant.id}/export", headers=tenant.admin.headers)


def pages_of(seen: list[str]) -> int:
    return sum("FROM messages" in statement for statement in seen)


async def stalled(app: FastAPI) -> None:
    """Return when the server waits for the client to read; it holds no connection meanwhile."""
    await until(lambda: any(map(waits_for_its_reader, asyncio.all_tasks())), "the server to wait for its reader")
    await all_given_back(app)


def waits_for_its_reader(task: "asyncio.Task[object]") -> bool:
    """Whether the innermost coroutine that it awaits is the server's `drain` of a full connection."""
    coroutine: Any = task.get_coro()
    names = []
    while coroutine is not None and hasattr(coroutine, "cr_await"):
        names.append(coroutine.__qualname__)
        coroutine = coroutine.cr_await
    return any(name.endswith("FlowControl.drain") for name in names)


def serving() -> bool:
    return any("LineStream" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_while_a_client_does_not_read_no_connection_is_held_and_no_page_is_read_ahead(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    async with large(listen, superuser) as (app, client, acme):
        with statements() as seen:
            async with export(client, acme) as response:
                assert response.status_code == 200
                pieces = response.aiter_raw()
                first = await anext(pieces)
                await stalled(app)
                assert pages_of(seen) < MESSAGES // 4
                whole = first + b"".join([piece async for piece in pieces])
    end = json.loads(whole.splitlines()[-1])
    assert (end["type"], end["counts"]["message"]) == ("end", MESSAGES)


async def test_an_admin_who_is_disabled_meanwhile_gets_no_further_page_and_no_end(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    read = bytearray()

    async def read_rest(pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            read.extend(piece)

    async with large(listen, superuser) as (app, client, acme):
        with statements() as seen:
            async with export(client, acme) as response:
                pieces = response.aiter_raw()
                await anext(pieces)
                await stalled(app)
                await superuser.execute("UPDATE users SET disabled_at = now() WHERE id = $1", acme.admin.id)
                with pytest.raises(httpx.RemoteProtocolError):
                    await read_rest(pieces)
            assert pages_of(seen) < MESSAGES // 4
        await all_given_back(app)
    assert read
    assert b'"end"' not in read


async def test_a_client_that_leaves_ends_its_export_and_leaves_nothing_behind(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    async with large(listen, superuser) as (app, client, acme):
        with statements() as seen:
            async with export(client, acme) as response:
                pieces = response.aiter_raw()
                await anext(pieces)
                await stalled(app)
                assert serving()
            await until(lambda: not serving(), "the export to end")
            assert pages_of(seen) < MESSAGES // 4
        await all_given_back(app)
        assert (await client.get("/me", headers=acme.admin.headers)).status_code == 200
