"""A tenant that keeps nothing has figures alone: whatever is asked, by whatever way, and what there was goes."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import URL

from app.core.items import Message, ToolCall
from app.db.session import Database
from app.messages.retention import Retention
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.committed.test_unstored import CANARY, nowhere
from tests.conftest import own_database
from tests.helpers import Tenant, make_tenant, send

database_url, settings, superuser = own_database()
PLAIN = {"content": CANARY, "metadata": {"of": CANARY}}
CHAT = {"model": "mock-echo", "messages": [{"role": "user", "content": CANARY}]}
RESPONSE = {"model": "mock-echo", "input": CANARY, "instructions": CANARY, "metadata": {"of": CANARY}}
ANTHROPIC = {**CHAT, "max_tokens": 100, "system": CANARY}
ROUTES = {
    "/messages": PLAIN,
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSE,
    "/v1/messages": ANTHROPIC,
}


@pytest_asyncio.fixture
async def app(serve: Serve) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with serve(None) as (app, client):
        yield app, client


@pytest_asyncio.fixture
async def client(app: tuple[FastAPI, httpx.AsyncClient]) -> httpx.AsyncClient:
    return app[1]


@pytest_asyncio.fixture
async def database(database_url: URL) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=2)
    yield database
    await database.close()


async def keep(client: httpx.AsyncClient, tenant: Tenant, days: int | None) -> None:
    body = {"message_retention_days": days}
    answer = await client.patch(f"/tenants/{tenant.id}", json=body, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["message_retention_days"] == days


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("streams", [False, True])
async def test_who_sends_is_answered_and_no_text_is_kept(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, path: str, *, streams: bool
) -> None:
    acme = await make_tenant(client)
    await keep(client, acme, 0)
    headers = {**acme.user.headers, "Idempotency-Key": "once"}
    answer = await client.post(path, json={**ROUTES[path], "stream": streams}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    assert CANARY in answer.text
    again = await client.post(path, json={**ROUTES[path], "stream": streams}, headers=headers)
    assert again.status_code == 409, again.text
    (row,) = await rows_of(superuser, acme)
    assert (row["stored"], row["content"], row["response"], row["status"]) == (False, "", "", "completed")
    assert row["output_tokens"] > 0
    await nowhere(superuser)


async def test_the_whole_answer_is_shown_to_who_sent_it(serve: Serve) -> None:
    said = [Message("assistant", "Let me look."), ToolCall("call_a", "look", "{}")]
    async with serve(PlayingProvider(said)) as (_, client):
        acme = await make_tenant(client)
        await keep(client, acme, 0)
        tools = [{"name": "look", "parameters": {"type": "object"}}]
        answer = await client.post("/messages", json={"content": "x", "tools": tools}, headers=acme.user.headers)
        shown = answer.json()
        read = (await client.get(f"/messages/{shown['id']}", headers=acme.user.headers)).json()
    assert (shown["response"], [item["type"] for item in shown["output"]]) == ("Let me look.", ["message", "tool_call"])
    assert shown["tool_calls"][0]["name"] == "look"
    assert (read["response"], read["output"], read["stored"]) == ("", None, False)


async def test_a_process_that_does_not_know_it_yet_writes_no_text(
    app: tuple[FastAPI, httpx.AsyncClient], superuser: asyncpg.Connection
) -> None:
    """What a transaction writes that is rolled back stays in the table's pages, and in the log."""
    service, client = app
    acme = await make_tenant(client)
    await keep(client, acme, 0)
    await superuser.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
    for path, body in ROUTES.items():
        service.state.container.intake.model_policies.forget_tenant(acme.id)
        answer = await client.post(path, json=body, headers=acme.user.headers)
        assert answer.status_code in (200, 201), answer.text
    for table in ("messages", "message_contents"):
        pages = await superuser.fetch(
            "SELECT get_raw_page($1::text, page) AS page"
            " FROM generate_series(0, pg_relation_size($1::text::regclass) / 8192 - 1) AS page",
            table,
        )
        assert not any(CANARY.encode() in row["page"] for row in pages), table


@pytest.mark.parametrize(
    ("path", "further", "named"),
    [
        ("/messages", {"background": True}, "background"),
        ("/messages", {"conversation_id": "01a21764-8244-7261-81e6-95369f200aa5"}, "conversation"),
        ("/messages", {"documents": True}, "documents"),
        ("/messages", {"webhook_url": "https://hooks.invalid/x"}, "webhook_url"),
        ("/v1/responses", {"background": True}, "background"),
        ("/v1/responses", {"store": True}, "store"),
        ("/v1/responses", {"previous_response_id": "resp_01a217648244726181e695369f200aa5"}, "previous_response_id"),
        ("/v1/responses", {"conversation": "conv_01a217648244726181e695369f200aa5"}, "conversation"),
        ("/v1/chat/completions", {"store": True}, "store"),
    ],
)
async def test_what_needs_what_is_kept_is_refused_by_name(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, path: str, further: dict[str, Any], named: str
) -> None:
    acme = await make_tenant(client)
    await keep(client, acme, 0)
    known = await send(client, acme.user)
    answer = await client.post(path, json={**ROUTES[path], **further}, headers=acme.user.headers)
    assert answer.status_code == (400 if path.startswith("/v1") else 422), answer.text
    assert f"cannot have {named}" in answer.text
    assert "message_retention_days" in answer.text
    assert [row["id"] for row in await rows_of(superuser, acme)] == [known["id"]]
    await nowhere(superuser)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/conversations", {"title": CANARY, "system_prompt": CANARY}),
        ("/v1/conversations", {"metadata": {"of": CANARY}}),
    ],
)
async def test_it_has_no_conversations(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, path: str, body: dict[str, Any]
) -> None:
    acme = await make_tenant(client)
    await keep(client, acme, 0)
    answer = await client.post(path, json=body, headers={**acme.user.headers, "Idempotency-Key": "once"})
    assert answer.status_code == (400 if path.startswith("/v1") else 422), answer.text
    assert "message_retention_days" in answer.text
    await nowhere(superuser)


async def test_it_is_not_refused_any_more_once_it_keeps_things_again(
    app: tuple[FastAPI, httpx.AsyncClient], superuser: asyncpg.Connection
) -> None:
    """By a process that has not heard of it."""
    _, client = app
    acme = await make_tenant(client)
    await keep(client, acme, 0)
    await send(client, acme.user)
    await keep(client, acme, None)
    answer = await client.post("/messages", json={"content": "x", "background": True}, headers=acme.user.headers)
    assert answer.status_code == 202
    assert [row["stored"] for row in await rows_of(superuser, acme)] == [False, True]


async def test_what_there_was_goes_and_its_figures_stay(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database
) -> None:
    acme, rival = await make_tenant(client), await make_tenant(client)
    for tenant in (acme, rival):
        headers = tenant.user.headers
        made = await client.post("/conversations", json={"title": "t", "system_prompt": "s"}, headers=headers)
        await client.post("/conversations", json={"title": "empty"}, headers=headers)
        body = {"content": "x", "conversation_id": made.json()["id"]}
        assert (await client.post("/messages", json=body, headers=headers)).status_code == 201
        assert (await client.post("/v1/responses", json=RESPONSE, headers=headers)).status_code == 200
    await keep(client, acme, 0)
    await send(client, acme.user)
    await keep(client, acme, 0)

    gone = await Retention(database, 30, batch_rows=1).delete_old()
    assert (gone[acme.id], gone[rival.id]) == (2, 0)
    left = "SELECT (SELECT count(*) FROM {0} WHERE tenant_id = $1), (SELECT count(*) FROM {0} WHERE tenant_id = $2)"
    for table, counts in (("messages", (1, 2)), ("conversations", (0, 2)), ("message_contents", (0, 1))):
        assert tuple(await superuser.fetchrow(left.format(table), acme.id, rival.id)) == counts, table
    assert [row["stored"] for row in await rows_of(superuser, acme)] == [False]
    assert await superuser.fetchval("SELECT count(*) FROM deleted_usage WHERE tenant_id = $1", acme.id) == 2


async def test_a_message_that_failed_before_is_not_answered_again(
    client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    acme = await make_tenant(client)
    sent = await send(client, acme.user)
    await superuser.execute("UPDATE messages SET status = 'failed' WHERE id = $1", sent["id"])
    await keep(client, acme, 0)
    await client.get("/models", headers=acme.user.headers)
    answer = await client.post(f"/messages/{sent['id']}/retry", headers=acme.user.headers)
    assert answer.status_code == 409
