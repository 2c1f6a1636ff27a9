"""The service as a process: killed hard, stopped softly, started again; and its clients hang up."""

import asyncio
import contextlib
import signal
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.llm.mock import MockProvider
from tests.committed.conftest import Serve
from tests.committed.held import FIRST, held_server
from tests.committed.providers import HeldProvider
from tests.committed.server import ServerProcess, running
from tests.committed.sse import Event, following, rest, text_of
from tests.conftest import SECRET_KEY
from tests.helpers import make_tenant
from tests.waiting import until

# uvicorn ends by the signal that it was sent, once it has shut down.
CLEAN = (0, -signal.SIGTERM)
SHORT_LEASE = {"message_lease_seconds": "1"}


@pytest.fixture
def database(database_url: URL) -> dict[str, str]:
    return {"database_url": database_url.render_as_string(hide_password=False), "secret_key": SECRET_KEY}


async def statuses(superuser: asyncpg.Connection, tenant_id: str) -> list[tuple[str, str | None]]:
    rows = await superuser.fetch("SELECT status, error_code FROM messages WHERE tenant_id = $1", tenant_id)
    return sorted((row["status"], row["error_code"]) for row in rows)


async def test_every_prompt_accepted_before_a_kill_is_there_and_ends(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection, serve: Serve
) -> None:
    async with (
        held_server() as provider,
        running(tmp_path, **database, **provider.settings, **SHORT_LEASE, background_work="false") as server,
        server.client() as client,
    ):
        acme = await make_tenant(client)
        sends = [
            asyncio.create_task(client.post("/messages", json={"content": str(n)}, headers=acme.user.headers))
            for n in range(5)
        ]

        async def all_pending() -> bool:
            return await statuses(superuser, acme.id) == [("pending", None)] * 5

        await until(all_pending, "five pending messages")
        server.kill()
        await asyncio.gather(*sends, return_exceptions=True)
    assert await all_pending()

    async with serve(HeldProvider(), background_work=True, message_lease_seconds=1) as (_, client):

        async def all_ended() -> bool:
            return await statuses(superuser, acme.id) == [("failed", "interrupted")] * 5

        await until(all_ended, "the sweep")
        listed = (await client.get("/messages", headers=acme.user.headers)).json()
        assert sorted(row["content"] for row in listed) == ["0", "1", "2", "3", "4"]


async def stopping(server: ServerProcess) -> None:
    """Return when a soft stop has begun."""

    async def refuses() -> bool:
        return not await server.accepts()

    server.ask_to_stop()
    await until(refuses, "the service to take no more connections")


async def test_a_soft_stop_finishes_what_runs_and_exits_cleanly(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection
) -> None:
    async with (
        held_server() as provider,
        running(tmp_path, **database, **provider.settings) as server,
        server.client() as client,
        server.client() as other,
    ):
        acme = await make_tenant(client)
        send = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        body = {"content": "x", "background": True}
        for _ in range(2):
            assert (await other.post("/messages", json=body, headers=acme.user.headers)).status_code == 202
        await until(lambda: provider.asked == 3, "the three calls")
        await stopping(server)
        provider.release.set()
        assert (await send).status_code == 201
        assert await server.ended() in CLEAN
    assert await statuses(superuser, acme.id) == [("completed", None)] * 3


async def test_a_client_that_hangs_up_does_not_lose_the_answer(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection
) -> None:
    async with (
        held_server() as provider,
        running(tmp_path, **database, **provider.settings) as server,
        server.client() as client,
    ):
        acme = await make_tenant(client)
        body = b'{"content": "x"}'
        head = (
            f"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.user.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + body)
        await until(lambda: provider.asked, "the provider to be asked")
        writer.transport.abort()
        assert (await client.get("/health")).status_code == 200  # later than the hang-up
        provider.release.set()

        async def completed() -> bool:
            return await statuses(superuser, acme.id) == [("completed", None)]

        await until(completed, "the answer")


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


async def test_after_a_kill_partial_text_is_kept_budgets_are_whole_and_a_retry_works(
    tmp_path: Path, database: dict[str, str], superuser: asyncpg.Connection, serve: Serve
) -> None:
    async with (
        held_server() as provider,
        running(tmp_path, **database, **provider.settings) as server,
        server.client() as client,
    ):
        acme = await make_tenant(client)
        await client.put("/admin/budget", json={"limit_micro_usd": 10**6}, headers=acme.admin.headers)
        body = {"content": "some words to be said one by one", "background": True}
        sent = [(await client.post("/messages", json=body, headers=acme.user.headers)).json()["id"] for _ in range(3)]
        await client.post(f"/messages/{sent[0]}/cancel", headers=acme.user.headers)

        async def some_text_written() -> bool:
            found = await superuser.fetch(
                "SELECT DISTINCT message_id FROM message_deltas WHERE tenant_id = $1", acme.id
            )
            return {row["message_id"] for row in found} >= set(sent[1:])

        await until(some_text_written, "the first text of both")
        server.kill()
    reserved = "SELECT reserved_micro_usd FROM budgets WHERE tenant_id = $1"
    assert await superuser.fetchval(reserved, acme.id) > 0
    await superuser.execute(
        "UPDATE messages SET lease_expires_at = now(), cancel_requested = (id = $2) WHERE tenant_id = $1 "
        "AND status = 'pending'",
        acme.id,
        sent[2],
    )

    async with serve(MockProvider(), background_work=True, message_lease_seconds=1) as (_, client):

        async def all_ended() -> bool:
            return ("pending", None) not in await statuses(superuser, acme.id)

        await until(all_ended, "the sweep")
        ends = {row["id"]: row for row in (await client.get("/messages", headers=acme.user.headers)).json()}
        assert [ends[message_id]["status"] for message_id in sent] == ["cancelled", "failed", "cancelled"]
        assert ends[sent[1]]["error_code"] == "interrupted"
        for message_id in sent[1:]:
            assert ends[message_id]["response"] == FIRST
        assert await superuser.fetchval(reserved, acme.id) == 0
        assert await superuser.fetchval("SELECT count(*) FROM message_deltas WHERE tenant_id = $1", acme.id) == 0
        retried = await client.post(f"/messages/{sent[1]}/retry", headers=acme.user.headers)
        assert (retried.status_code, retried.json()["status"], retried.json()["attempts"]) == (200, "completed", 2)


async def test_a_reader_whose_process_was_killed_goes_on_at_another(
    tmp_path: Path, database: dict[str, str], listen: Serve
) -> None:
    provider = HeldProvider()
    async with (
        listen(provider) as (_, sender),
        listen(HeldProvider()) as (_, second),
        running(tmp_path, **database) as dies,
        dies.client() as first,
    ):
        acme = await make_tenant(sender)
        body = {"content": "x", "background": True}
        message = (await sender.post("/messages", json=body, headers=acme.user.headers)).json()
        await provider.wait_for_calls(1)
        provider.say("What is read at the one, ")
        seen: list[Event] = []
        with contextlib.suppress(httpx.TransportError):
            async with following(first, message["id"], acme.user.headers) as events:
                async for event in events:
                    seen.append(event)
                    if text_of(seen):
                        dies.kill()
        last_id = next(event.id for event in reversed(seen) if event.id)
        async with following(second, message["id"], acme.user.headers, last_id) as events:
            provider.say("and what is read at the other")
            provider.release.set()
            later = await rest(events)

    assert later[-1].name == "completed"
    assert text_of(seen) + text_of(later) == later[-1].data["response"]
