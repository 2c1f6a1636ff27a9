"""The service as a process: killed hard, stopped softly, started again; and its clients hang up."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL

from app.core.ids import new_id
from tests.committed.server import running
from tests.helpers import make_tenant

# uvicorn ends by the signal that it was sent, once it has shut down.
CLEAN = (0, -signal.SIGTERM)


async def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Poll until the awaited condition is true; there is no signal to wait for across processes."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
def database(database_url: URL) -> dict[str, str]:
    return {"database_url": database_url.render_as_string(hide_password=False), "secret_key": new_id() * 2}


async def statuses(superuser: asyncpg.Connection, tenant_id: str) -> list[tuple[str, str | None]]:
    rows = await superuser.fetch("SELECT status, error_code FROM messages WHERE tenant_id = $1", tenant_id)
    return sorted((row["status"], row["error_code"]) for row in rows)


async def test_every_prompt_accepted_before_a_kill_is_there_and_ends(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection
) -> None:
    async with running(tmp_path, **database, llm_mock_latency_seconds="60") as server, server.client() as client:
        acme = await make_tenant(client)
        sends = [
            asyncio.create_task(client.post("/messages", json={"content": str(n)}, headers=acme.user.headers))
            for n in range(5)
        ]

        async def all_pending() -> bool:
            return await statuses(superuser, acme.id) == [("pending", None)] * 5

        await until(all_pending)
        server.kill()
        await asyncio.gather(*sends, return_exceptions=True)
    assert await all_pending()

    await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE tenant_id = $1", acme.id)
    async with running(tmp_path, **database) as server, server.client() as client:

        async def all_ended() -> bool:
            return await statuses(superuser, acme.id) == [("failed", "interrupted")] * 5

        await until(all_ended)
        listed = (await client.get("/messages", headers=acme.user.headers)).json()
        assert sorted(row["content"] for row in listed) == ["0", "1", "2", "3", "4"]


async def test_a_soft_stop_finishes_what_runs_and_exits_cleanly(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection
) -> None:
    async with running(tmp_path, **database, llm_mock_latency_seconds="0.5") as server, server.client() as client:
        acme = await make_tenant(client)
        send = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))

        async def pending() -> bool:
            return await statuses(superuser, acme.id) == [("pending", None)]

        await until(pending)
        assert await server.stop() in CLEAN
        assert (await send).status_code == 201
    assert await statuses(superuser, acme.id) == [("completed", None)]


async def test_a_client_that_hangs_up_does_not_lose_the_answer(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection
) -> None:
    async with running(tmp_path, **database, llm_mock_latency_seconds="0.5") as server, server.client() as client:
        acme = await make_tenant(client)
        body = b'{"content": "x"}'
        head = (
            f"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.user.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + body)

        async def stored() -> bool:
            return bool(await statuses(superuser, acme.id))

        await until(stored)
        writer.transport.abort()

        async def completed() -> bool:
            return await statuses(superuser, acme.id) == [("completed", None)]

        await until(completed)


async def test_a_restart_finds_the_embedded_database_and_the_tokens_valid(tmp_path: Path) -> None:
    async with running(tmp_path) as server, server.client() as client:
        acme = await make_tenant(client)
        server.kill()
    async with running(tmp_path) as server, server.client() as client:
        me = await client.get("/me", headers=acme.user.headers)
        assert me.status_code == 200
        assert me.json()["email"] == acme.user.email
        assert await server.stop() in CLEAN
    assert not (tmp_path / "data" / "postgres" / "data" / "postmaster.pid").exists()
