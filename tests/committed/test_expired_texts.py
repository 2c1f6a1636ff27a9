"""What clients of other protocols let be stored loses its texts after so many days, and nothing else of it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.settings.llm import LLMSettings
from app.db.session import Database
from app.messages.idempotency import KEPT_FOR
from app.messages.retention import Retention
from tests.committed.conftest import Serve, rows_of
from tests.conftest import own_database
from tests.helpers import Member, make_tenant
from tests.waiting import until

database_url, settings, superuser = own_database()
CANARY = "canary-1945-in-a-coal-mine"
TOOL = {"name": "look", "description": CANARY, "parameters": {"type": "object"}}
CHAT = {"model": "mock-echo", "messages": [{"role": "user", "content": CANARY}], "store": True}
RESPONSE = {"model": "mock-echo", "input": CANARY, "instructions": CANARY, "metadata": {"of": CANARY}}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "a chat": ("/v1/chat/completions", CHAT),
    "a chat with tools": ("/v1/chat/completions", CHAT | {"tools": [{"type": "function", "function": TOOL}]}),
    "a response": ("/v1/responses", RESPONSE),
    "a response that is streamed": ("/v1/responses", RESPONSE | {"stream": True}),
    "of Anthropic's clients": ("/v1/messages", {**CHAT, "max_tokens": 100}),
}
FIGURES = """
SELECT id, user_id, status, error_code, finish_reason, model, asked_model, api, input_tokens, output_tokens,
  cost_micro_usd, price, created_at, updated_at, previous_id FROM messages WHERE tenant_id = $1 ORDER BY id
"""


@pytest_asyncio.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(None) as (_, client):
        yield client


@pytest_asyncio.fixture
async def database(database_url: URL) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=2)
    yield database
    await database.close()


async def say(client: httpx.AsyncClient, member: Member, path: str, body: dict[str, Any], key: str = "once") -> str:
    """Its id, as the interface has it."""
    headers = member.headers | ({"Idempotency-Key": key} if path == "/v1/messages" else {})
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return "" if body.get("stream") else str(answer.json()["id"])


async def say_all(client: httpx.AsyncClient, member: Member) -> list[str]:
    return [await say(client, member, path, body) for path, body in WAYS.values()]


async def age(superuser: asyncpg.Connection, days: float) -> None:
    """All messages that there are."""
    await superuser.execute(f"UPDATE messages SET created_at = created_at - interval '{days} days'")


async def places(superuser: asyncpg.Connection, tenant_id: str) -> set[str]:
    """Tables in which a row of the tenant holds the canary."""
    tables = await superuser.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    like = 'SELECT count(*) FROM "{}" t WHERE tenant_id = $1 AND t::text LIKE $2'
    return {table for (table,) in tables if await superuser.fetchval(like.format(table), tenant_id, f"%{CANARY}%") > 0}


async def test_the_text_is_nowhere_and_the_figures_are_as_they_were(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database
) -> None:
    acme, rival = await make_tenant(client), await make_tenant(client)
    await say_all(client, acme.user)
    await age(superuser, 31)
    assert await places(superuser, acme.id) == {"messages", "message_contents"}
    figures = await superuser.fetch(FIGURES, acme.id)
    usage = (await client.get("/usage", headers=acme.admin.headers)).json()
    await say_all(client, rival.user)

    assert await Retention(database, 30).blank_expired() == {acme.id: len(WAYS)}
    assert await places(superuser, acme.id) == set()
    assert await superuser.fetch(FIGURES, acme.id) == figures
    assert (await client.get("/usage", headers=acme.admin.headers)).json() == usage
    assert {(row["stored"], row["content"]) for row in await rows_of(superuser, acme)} == {(False, "")}
    assert await superuser.fetchval("SELECT count(*) FROM message_contents WHERE tenant_id = $1", acme.id) == 0
    assert len(await rows_of(superuser, rival)) == len(WAYS)
    assert await places(superuser, rival.id) == {"messages", "message_contents"}
    assert await Retention(database, 30).blank_expired() == {}


async def test_whoever_asks_for_it_hears_what_is_said_of_none(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database
) -> None:
    acme = await make_tenant(client)
    chat, _, response, *_ = await say_all(client, acme.user)
    await age(superuser, 31)
    await Retention(database, 30).blank_expired()
    none = response[:-6] + "0" * 6

    async def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = await client.request(method, path, json=body, headers=acme.user.headers)
        return answer.status_code, {**answer.json()["error"], "request_id": None}

    for method, path in (
        ("GET", "/v1/responses/{}"), ("GET", "/v1/responses/{}?stream=true"), ("GET", "/v1/responses/{}/input_items"),
        ("POST", "/v1/responses/{}/cancel"), ("DELETE", "/v1/responses/{}"),
    ):  # fmt: skip
        assert await ask(method, path.format(response)) == await ask(method, path.format(none)), path
        assert (await ask(method, path.format(response)))[0] == 404
    chats = f"/v1/chat/completions/{chat}"
    assert (await ask("GET", chats))[0] == (await ask("GET", f"{chats}/messages"))[0] == 404
    assert (await client.get("/v1/chat/completions", headers=acme.user.headers)).json()["data"] == []
    for naming in ({"previous_response_id": "NAMED"}, {"input": [{"type": "item_reference", "id": "NAMED_i0"}]}):
        bodies = [json.loads(json.dumps(RESPONSE | naming).replace("NAMED", named)) for named in (response, none)]
        answers = [await ask("POST", "/v1/responses", body) for body in bodies]
        assert answers[0] == answers[1]
        assert answers[0][0] == 400
    shown = await client.get(f"/messages/{response.removeprefix('resp_')}", headers=acme.user.headers)
    assert (shown.json()["stored"], shown.json()["content"], shown.json()["output"]) == (False, "", None)


async def test_what_is_not_meant_stays(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database
) -> None:
    """What is younger, what `POST /messages` brought, what is a conversation's, and what runs."""
    acme = await make_tenant(client)
    talk = (await client.post("/v1/conversations", json={}, headers=acme.user.headers)).json()["id"]
    await say(client, acme.user, "/messages", {"content": CANARY, "tools": [TOOL]})
    await say(client, acme.user, "/v1/responses", RESPONSE | {"conversation": talk})
    running = (await say(client, acme.user, "/v1/responses", RESPONSE)).removeprefix("resp_")
    await superuser.execute("UPDATE messages SET status = 'pending' WHERE id = $1", running)
    await age(superuser, 2)
    await say(client, acme.user, "/v1/responses", RESPONSE)
    await age(superuser, 29)
    before = await rows_of(superuser, acme)

    assert await Retention(database, 30).blank_expired() == {}
    assert await rows_of(superuser, acme) == before
    assert await Retention(database, 29).blank_expired() == {acme.id: 1}
    await superuser.execute("UPDATE messages SET status = 'completed' WHERE id = $1", running)
    assert await Retention(database, 30).blank_expired() == {acme.id: 1}


async def test_no_transaction_has_more_than_a_batch_and_a_tenant_that_fails_keeps_no_other(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database: Database
) -> None:
    acme, rival = await make_tenant(client), await make_tenant(client)
    for tenant in (acme, rival):
        await say_all(client, tenant.user)
    await age(superuser, 31)
    broken = f"ALTER TABLE messages ADD CONSTRAINT breaks CHECK (stored OR tenant_id <> '{rival.id}') NOT VALID"
    await superuser.execute(broken)
    try:
        with pytest.raises(Exception, match="breaks"):
            await Retention(database, 30, batch_rows=2).look()
    finally:
        await superuser.execute("ALTER TABLE messages DROP CONSTRAINT breaks")
    of_batches = "SELECT count(*)::int FROM messages WHERE tenant_id = $1 AND NOT stored GROUP BY xmin::text ORDER BY 1"
    assert [row[0] for row in await superuser.fetch(of_batches, acme.id)] == [1, 2, 2]
    assert await superuser.fetch(of_batches, rival.id) == []
    assert await Retention(database, 30).blank_expired() == {rival.id: len(WAYS)}


async def test_a_process_does_it_beside_its_requests(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(None) as (_, client):
        acme = await make_tenant(client)
        await say_all(client, acme.user)
    await age(superuser, 2)

    async def gone() -> bool:
        return await places(superuser, acme.id) == set()

    async with serve(None, background_work=True, v1_retention_days=1):
        await until(gone, "the loop to blank it")


def test_no_key_leads_to_an_answer_that_has_expired() -> None:
    assert LLMSettings.model_fields["v1_retention_days"].metadata[0].ge * 24 >= KEPT_FOR.total_seconds() / 3600
