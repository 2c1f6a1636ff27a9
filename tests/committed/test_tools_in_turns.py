"""A model calls tools, and is told what they came to in the next turn."""

from typing import Any

import asyncpg
import httpx
import pytest

from app.core.items import Message, Reasoning, ToolCall, ToolResult
from app.messages.log import Log
from app.messages.sweeper import sweep
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.helpers import Tenant
from tests.waiting import until

TOOL = {"name": "weather", "description": "Of a city", "parameters": {"type": "object"}}
CALLS = [
    Reasoning("They ask of two.", "anthropic", {"signature": "c2ln"}),
    Message("assistant", "I look."),
    ToolCall("call_a", "weather", '{"city": "Oslo"}'),
    ToolCall("call_b", "weather", '{"city": "Rome"}'),
]
RESULTS = [{"call_id": "call_b", "content": "sun"}, {"call_id": "call_a", "content": "no such city", "failed": True}]
DONE = [Message("assistant", "Rome has sun.")]


async def room(client: httpx.AsyncClient, tenant: Tenant) -> str:
    made = await client.post("/conversations", json={"system_prompt": "Be kind"}, headers=tenant.user.headers)
    return str(made.json()["id"])


async def say(client: httpx.AsyncClient, tenant: Tenant, conversation_id: str, **body: Any) -> httpx.Response:
    body = {"conversation_id": conversation_id, "tools": [TOOL], **body}
    return await client.post("/messages", json=body, headers=tenant.user.headers)


async def test_calls_are_answered_by_the_next_turn_of_the_conversation(serve: Serve, acme: Tenant) -> None:
    provider = PlayingProvider(CALLS, DONE)
    async with serve(provider) as (_, client):
        talk = await room(client, acme)
        asked = (await say(client, acme, talk, content="Oslo and Rome?")).json()
        told = (await say(client, acme, talk, tool_results=RESULTS)).json()
        shown = (await client.get(f"/messages/{asked['id']}", headers=acme.user.headers)).json()
        listed = (await client.get("/messages", headers=acme.user.headers)).json()

    assert (asked["status"], asked["finish_reason"], asked["response"]) == ("completed", "tool_calls", "I look.")
    assert asked["tool_calls"] == [
        {"id": "call_a", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"id": "call_b", "name": "weather", "arguments": '{"city": "Rome"}'},
    ]
    assert [item["type"] for item in asked["output"]] == ["reasoning", "message", "tool_call", "tool_call"]
    assert "c2ln" not in str(asked["output"])
    assert asked["reasoning_tokens"] == 3
    assert (shown["output"], shown["tool_calls"]) == (asked["output"], asked["tool_calls"])
    assert {row["id"]: row["output"] for row in listed} == {asked["id"]: None, told["id"]: None}
    assert (told["response"], told["tool_calls"], told["output"]) == ("Rome has sun.", None, None)
    assert provider.calls[0].options.tools[0].name == "weather"
    assert list(provider.calls[1].items) == [
        Message("system", "Be kind"),
        Message("user", "Oslo and Rome?"),
        *CALLS,
        ToolResult("call_b", "sun"),
        ToolResult("call_a", "no such city", failed=True),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content": "Never mind"}, 409),
        ({"tool_results": RESULTS[:1]}, 409),
        ({"tool_results": [*RESULTS, {"call_id": "call_c"}]}, 422),
        ({"tool_results": [*RESULTS, RESULTS[0]]}, 422),
        ({"tool_results": RESULTS, "content": "And Bern?"}, 201),
    ],
)
async def test_what_the_model_waits_for_comes_first_and_whole(
    serve: Serve, acme: Tenant, superuser: asyncpg.Connection, body: dict[str, Any], status: int
) -> None:
    async with serve(PlayingProvider(CALLS, DONE)) as (_, client):
        talk = await room(client, acme)
        await say(client, acme, talk, content="Oslo and Rome?")
        answer = await say(client, acme, talk, **body)
        assert answer.status_code == status
        assert len(await rows_of(superuser, acme)) == (2 if status == 201 else 1)
        if status != 201:
            assert (await say(client, acme, talk, tool_results=RESULTS)).status_code == 201


async def test_results_that_nobody_waits_for_are_refused(serve: Serve, acme: Tenant) -> None:
    async with serve(PlayingProvider()) as (_, client):
        talk = await room(client, acme)
        await say(client, acme, talk, content="Hello")
        answer = await say(client, acme, talk, tool_results=RESULTS)
    assert_problem(answer, 422, "tool-results-unasked")


async def test_a_turn_and_its_results_leave_the_context_together(serve: Serve, acme: Tenant) -> None:
    provider = PlayingProvider(CALLS, DONE)
    async with serve(provider, llm_context_tokens=600) as (_, client):
        talk = await room(client, acme)
        await say(client, acme, talk, content="x" * 2000)
        # What is answered is kept, though it has no room.
        await say(client, acme, talk, tool_results=RESULTS, content="y" * 2400)
        await say(client, acme, talk, content="z" * 800)
        await say(client, acme, talk, content="Fits")
    assert [type(item).__name__ for item in provider.calls[1].items].count("ToolResult") == 2
    assert provider.calls[1].items[1] == Message("user", "x" * 2000)
    assert list(provider.calls[2].items) == [Message("system", "Be kind"), Message("user", "z" * 800)]
    assert list(provider.calls[3].items)[1:] == [Message("user", "z" * 800), *DONE, Message("user", "Fits")]


async def test_results_alone_are_no_context(serve: Serve, acme: Tenant) -> None:
    """They would fit, and the turn that called does not."""
    provider = PlayingProvider(CALLS, DONE)
    async with serve(provider, llm_context_tokens=600) as (_, client):
        talk = await room(client, acme)
        await say(client, acme, talk, content="x" * 2000)
        await say(client, acme, talk, tool_results=RESULTS)
        await say(client, acme, talk, content="z" * 800)
    assert list(provider.calls[2].items) == [Message("system", "Be kind"), Message("user", "z" * 800)]


async def test_a_failed_turn_is_run_again_with_what_it_asked(
    serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    provider = PlayingProvider(CALLS, DONE)
    async with serve(provider) as (_, client):
        talk = await room(client, acme)
        await say(client, acme, talk, content="Oslo and Rome?", temperature=0.5, metadata={"of": "a test"})
        sent = (await say(client, acme, talk, tool_results=RESULTS, model="playing-1")).json()
        await superuser.execute("UPDATE messages SET status = 'failed' WHERE id = $1", sent["id"])
        again = await client.post(f"/messages/{sent['id']}/retry", headers=acme.user.headers)
        first, _ = await rows_of(superuser, acme)
    assert (again.status_code, again.json()["response"]) == (200, "Rome has sun.")
    assert provider.calls[2].items == provider.calls[1].items
    assert (provider.calls[2].options, provider.calls[2].model) == (provider.calls[1].options, "playing-1")
    assert provider.calls[0].options.temperature == 0.5
    assert first["metadata"] == '{"of": "a test"}'


async def test_contents_lie_beside_the_message_and_go_with_it(
    serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    async def contents() -> list[str]:
        found = await superuser.fetch("SELECT message_id FROM message_contents WHERE tenant_id = $1", acme.id)
        return [row["message_id"] for row in found]

    async with serve(PlayingProvider(DONE, CALLS, DONE)) as (_, client):
        plain = await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
        assert plain.status_code == 201
        assert await contents() == []
        sent = await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
        assert await contents() == [sent.json()["id"]]
        deleted = await client.delete(f"/messages/{sent.json()['id']}", headers=acme.user.headers)
        assert deleted.status_code == 204
        assert await contents() == []
        talk = await room(client, acme)
        await say(client, acme, talk, content="Hello")
        assert len(await contents()) == 1
        await client.delete(f"/admin/users/{acme.user.id}", headers=acme.admin.headers)
        assert await contents() == []


async def test_what_a_killed_process_had_written_of_calls_is_theirs_at_the_end(
    serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    provider = PlayingProvider(CALLS, held=True)
    async with serve(provider) as (app, client):
        body = {"content": "Oslo?", "background": True}
        sent = (await client.post("/messages", json=body, headers=acme.user.headers)).json()["id"]
        await provider.wait_for_calls(1)
        for piece in Log.of(CALLS).since(0):
            provider.say(piece.event)
        await app.state.container.engine._deltas.write(look_at_all=True)
        await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE id = $1", sent)
        await sweep(app.state.container.database)
        ended = (await client.get(f"/messages/{sent}", headers=acme.user.headers)).json()
        provider.release.set()
        await until(lambda: not app.state.container.engine.running, "the run to be over")
        kept = (await client.get(f"/messages/{sent}", headers=acme.user.headers)).json()
    assert (ended["status"], ended["error_code"], ended["response"]) == ("failed", "interrupted", "I look.")
    assert [call["arguments"] for call in ended["tool_calls"]] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    assert [item["type"] for item in ended["output"]] == ["reasoning", "message", "tool_call", "tool_call"]
    assert kept["output"] == ended["output"]
    assert await superuser.fetchval("SELECT count(*) FROM message_deltas WHERE tenant_id = $1", acme.id) == 0
