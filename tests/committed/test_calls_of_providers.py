"""Tool calls as no provider should send them, over HTTP to the end: what each interface makes of them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.committed.conftest import Serve, rows_of
from tests.committed.dialects import DIALECTS, Dialect, reading
from tests.helpers import make_tenant
from tests.llm.loopback import Answer, loopback
from tests.llm.wire import OPENAI, openai_chunk, sse

MILLION = 1_000_000
pytestmark = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def piece(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    named = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"index": index, "function": function, **named}


def saying(*deltas: bytes) -> Any:
    async def handle(_: dict[str, Any]) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            for delta in deltas:
                yield delta

        return 200, {"content-type": "text/event-stream"}, chunks()

    return handle


async def test_a_million_calls_are_refused_before_they_are_read(
    listen: Serve, superuser: asyncpg.Connection, dialect: Dialect
) -> None:
    made = 0

    async def handle(_: dict[str, Any]) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            nonlocal made
            for made in range(0, MILLION, 100):
                yield sse(openai_chunk({"tool_calls": [piece(at, "{}", "f") for at in range(made, made + 100)]}))

        return 200, {"content-type": "text/event-stream"}, chunks()

    async with loopback(handle) as server, listen(OPENAI.make(server.base_url, 60, 0)) as (_, client):
        acme = await make_tenant(client)
        async with reading(client, acme.user, dialect) as answer:
            heard = [line async for line in answer.lines]
        await server.client_gone.wait()
    assert made < MILLION / 10
    assert any("error" in line for line in heard)
    assert sum(len(line) for line in heard) < 1_000_000
    (row,) = await rows_of(superuser, acme)
    assert row["status"] == "failed"


async def test_arguments_that_are_no_json_and_come_mixed_are_each_calls_own(
    listen: Serve, superuser: asyncpg.Connection, dialect: Dialect
) -> None:
    deltas = [
        openai_chunk({"tool_calls": [piece(1, '{"a": ', "second")]}),
        openai_chunk({"tool_calls": [piece(0, "no ", "first")]}),
        openai_chunk({"tool_calls": [piece(1, "1}")]}),
        openai_chunk({"tool_calls": [piece(0, "JSON {")]}),
        openai_chunk({}, "tool_calls"),
    ]
    handle = saying(*(sse(delta) for delta in deltas), b"data: [DONE]\n\n")
    async with loopback(handle) as server, listen(OPENAI.make(server.base_url, 60, 0)) as (_, client):
        acme = await make_tenant(client)
        async with reading(client, acme.user, dialect) as answer:
            heard = [line.removeprefix("data: ") async for line in answer.lines if line.startswith("data: {")]
    said = " ".join(heard)
    assert "error" not in {key for line in heard for key, value in json.loads(line).items() if value}
    assert said.index("call_1") < said.index("call_0")  # as they began
    assert not {"no JSON {", '{"a": 1}'} - put_together(heard)
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["finish_reason"]) == ("completed", "tool_calls")


def put_together(lines: list[str]) -> set[str]:
    """The arguments of each call, whose pieces stand beside each other."""
    whole: list[str] = []
    for line in lines:
        event = json.loads(line)
        begins, arguments = _call_of(event)
        if begins:
            whole.append("")
        if arguments:
            whole[-1] += arguments
    return set(whole)


def _call_of(event: dict[str, Any]) -> tuple[bool, str]:
    """Whether a call begins with it, and what it says of its arguments."""
    match event:
        case {"choices": [{"delta": {"tool_calls": [call]}}]}:
            return "id" in call, call["function"]["arguments"]
        case {"type": "response.output_item.added", "item": {"type": "function_call"}} | {
            "type": "content_block_start",
            "content_block": {"type": "tool_use"},
        }:
            return True, ""
        case {"type": "response.function_call_arguments.delta", "delta": arguments} | {
            "type": "content_block_delta",
            "delta": {"partial_json": arguments},
        }:
            return False, arguments
        case {"index": _, "arguments": arguments}:
            return "name" in event, arguments
    return False, ""
