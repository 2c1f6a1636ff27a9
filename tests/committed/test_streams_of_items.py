"""Thoughts and tool calls in a stream: in order, whole, resumed anywhere, and ended where they cannot be kept."""

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import httpx

from app.core.items import Item, Message, Reasoning, ToolCall
from app.core.items import ReasoningDelta as Thought
from app.core.items import TextDelta as Said
from app.core.items import ToolCallDelta as Called
from app.core.settings.models import Price
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.committed.sse import Event, following, rest, sending
from tests.helpers import make_tenant
from tests.waiting import until

ITEMS: list[Item] = [
    Reasoning("Hm \U0001f600", "anthropic", {"signature": "c2ln"}),
    Message("assistant", "I look "),
    ToolCall("call_a", "weather", '{"city": "Köln"}'),
    ToolCall("call_b", "time", ""),
    Message("assistant", "now."),
]
EVENTS = [
    Thought("Hm "), Thought("\U0001f600"), Thought("", "anthropic", {"signature": "c2ln"}), Said("I "), Said("look "),
    Called(0, "", "call_a", "weather"), Called(0, '{"city": '), Called(0, '"Köln"}'), Called(1, "", "call_b", "time"),
    Said("now."),
]  # fmt: skip
TOOLS = [{"name": "weather"}, {"name": "time"}]
PRICES = {"playing-1": Price(input=1_000_000, output=1_000_000)}


def told(events: list[Event]) -> list[tuple[str, Any]]:
    """What was said, however it was cut: pieces of one kind joined."""
    found: list[tuple[str, Any]] = []
    for event in events:
        key = (event.name, event.data.get("index"))
        text = event.data.get("text", event.data.get("arguments"))
        if event.name in ("reasoning", "delta", "tool_call"):
            if "id" in event.data or not found or found[-1][0] != key or (event.name == "reasoning" and not text):
                found.append((key, [event.data.get("name"), ""]))
            found[-1][1][1] += text
    return [entry for entry in found if entry[1] != [None, ""]]


async def written(app: Any) -> None:
    await app.state.container.engine._deltas.write(look_at_all=True)


async def test_a_stream_says_what_each_piece_is(listen: Serve, superuser: asyncpg.Connection) -> None:
    provider = PlayingProvider(held=True)
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers, tools=TOOLS) as events:
            assert (await anext(events)).name == "message"
            await provider.wait_for_calls(1)
            shown = []
            for event in EVENTS:
                provider.say(event)
                shown.append(await anext(events))
            provider.release.set()
            (end,) = await rest(events)
    assert [(event.name, event.data) for event in shown] == [
        ("reasoning", {"text": "Hm "}),
        ("reasoning", {"text": "\U0001f600"}),
        ("reasoning", {"text": ""}),
        ("delta", {"text": "I "}),
        ("delta", {"text": "look "}),
        ("tool_call", {"index": 0, "id": "call_a", "name": "weather", "arguments": ""}),
        ("tool_call", {"index": 0, "arguments": '{"city": '}),
        ("tool_call", {"index": 0, "arguments": '"Köln"}'}),
        ("tool_call", {"index": 1, "id": "call_b", "name": "time", "arguments": ""}),
        ("delta", {"text": "now."}),
    ]
    offsets = [int(str(event.id).split("-")[1]) for event in shown]
    assert offsets == sorted(set(offsets))
    assert (end.name, end.data["response"], len(end.data["tool_calls"])) == ("completed", "I look now.", 2)
    stored = await superuser.fetchval("SELECT output FROM message_contents WHERE tenant_id = $1", acme.id)
    assert json.loads(stored)[0]["sealed"] == {"signature": "c2ln"}


async def test_it_is_resumed_anywhere_by_either_process_while_it_runs_and_at_its_end(listen: Serve) -> None:
    provider = PlayingProvider(held=True)
    async with listen(provider) as (app, here), listen(PlayingProvider()) as (_, there):
        acme = await make_tenant(here)
        async with sending(here, acme.user.headers, tools=TOOLS) as events:
            message_id = (await anext(events)).data["id"]
            await provider.wait_for_calls(1)
            for event in EVENTS[:5]:
                provider.say(event)
            await written(app)

            seen: Counter[str] = Counter()

            async def resumed(client: httpx.AsyncClient, offset: int) -> list[tuple[str, Any]]:
                async with following(client, message_id, acme.user.headers, f"1-{offset}") as events:
                    found = []
                    async for event in events:
                        found.append(event)
                        seen[event.id or ""] += 1
                    return told([event for event in found if event.name != "comment"])

            offsets = range(0, 60, 7)
            running = [asyncio.create_task(resumed(client, offset)) for client in (here, there) for offset in offsets]
            for event in EVENTS[5:]:
                provider.say(event)
                await written(app)
            last = f"1-{app.state.container.engine.find(message_id, 1).log.length}"
            await until(lambda: seen[last] == len(running), "all to be read while it runs, from memory and deltas")
            provider.release.set()
            (*_, end) = await rest(events)
            assert end.name == "completed"
            while_it_ran = await asyncio.gather(*running)
        at_its_end = [await resumed(client, offset) for client in (here, there) for offset in offsets]
    assert while_it_ran == at_its_end
    assert at_its_end[: len(offsets)] == at_its_end[len(offsets) :]
    assert at_its_end[0] == [
        (("reasoning", None), [None, "Hm \U0001f600"]),
        (("delta", None), [None, "I look "]),
        (("tool_call", 0), ["weather", '{"city": "Köln"}']),
        (("tool_call", 1), ["time", ""]),
        (("delta", None), [None, "now."]),
    ]


async def test_a_piece_of_a_call_that_comes_too_late_ends_the_answer_and_is_paid(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    provider = PlayingProvider(held=True)
    async with listen(provider, llm_prices=PRICES) as (_, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers, tools=TOOLS) as events:
            await anext(events)
            await provider.wait_for_calls(1)
            hear = provider.calls[-1].on_event
            assert hear is not None
            for event in (Called(0, "{", "call_a", "weather"), Called(1, "{}", "call_b", "time"), Called(0, "}")):
                hear(event)
            hear(Said("and nobody hears this"))
            *_, end = await rest(events)
        (row,) = await rows_of(superuser, acme)
        shown = (await client.get(f"/messages/{row['id']}", headers=acme.user.headers)).json()
    assert (end.name, end.data["type"], end.data["status"]) == ("failed", "urn:llm-saas:problem:output-malformed", 502)
    assert (row["status"], row["error_code"], row["response"]) == ("failed", "output_malformed", "")
    assert row["cost_micro_usd"] > 0
    assert provider.cancelled == 1
    assert [call["arguments"] for call in shown["tool_calls"]] == ["{", "{}"]


async def test_a_whole_answer_that_cannot_be_kept_fails_and_is_paid(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    calls: list[Item] = [ToolCall(f"call_{number}", "weather", "{}") for number in range(1_000)]
    async with serve(PlayingProvider(calls), llm_prices=PRICES) as (_, client):
        acme = await make_tenant(client)
        answer = await client.post("/messages", json={"content": "x", "tools": TOOLS}, headers=acme.user.headers)
    (row,) = await rows_of(superuser, acme)
    assert (answer.status_code, row["status"], row["error_code"]) == (502, "failed", "output_malformed")
    assert (row["cost_micro_usd"], row["output_tokens"]) == (15, 5)
