"""Each adapter against a loopback server that speaks its provider's wire format."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.core.items import AT_WORK, Delta, Message, TextDelta
from app.llm.base import Call
from tests.llm.loopback import Answer
from tests.llm.scripted import Heard
from tests.llm.wire import OLLAMA, OPENAI, TURNS, WIRES, Wire, served, served_by, streamed

PIECES = ["Con", "cur", "rency — ", "ünïcode\u2028 and\n\n", "data: 1"]


@pytest.fixture(params=WIRES, ids=str)
def wire(request: pytest.FixtureRequest) -> Wire:
    return request.param


async def test_an_answer_is_read_with_its_model_and_tokens(wire: Wire) -> None:
    async with served(wire, lambda: (200, {}, wire.whole("Concurrency."))) as (provider, server):
        answer = await provider.complete(Call(TURNS))

    assert (answer.text, answer.model) == ("Concurrency.", "tiny-1")
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (7, 5, wire.cached_tokens)
    headers, body = server.requests[0]
    assert body["model"] == "tiny"
    assert not body.get("stream")
    assert headers["accept-encoding"] == "identity"


async def test_a_streamed_answer_is_handed_on_piece_by_piece_and_joined(wire: Wire) -> None:
    heard = Heard()
    async with served(wire, lambda: streamed(wire.chunks(PIECES))) as (provider, server):
        answer = await provider.complete(Call(TURNS, heard.hear))

    assert heard == PIECES
    assert (answer.text, answer.model) == ("".join(PIECES), "tiny-1")
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (7, 5, wire.cached_tokens)
    assert server.requests[0][1]["stream"] is True


async def test_a_piece_is_handed_on_before_the_next_one_is_sent(wire: Wire) -> None:
    heard: asyncio.Queue[Delta] = asyncio.Queue()
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        first, *rest = wire.chunks(["one", "two"])
        yield first
        await go_on.wait()
        for part in rest:
            yield part

    async with served(wire, lambda: (200, {}, body())) as (provider, _):
        call = asyncio.create_task(
            provider.complete(Call(TURNS, lambda event: event is AT_WORK or heard.put_nowait(event)))
        )
        assert await heard.get() == TextDelta("one")
        assert not call.done()
        go_on.set()
        assert (await call).text == "onetwo"


async def test_a_stream_is_read_however_the_network_slices_it(wire: Wire) -> None:
    data = b"".join(wire.chunks(PIECES))
    heard = Heard()
    async with served(wire, lambda: streamed(data[at : at + 1] for at in range(len(data)))) as (provider, _):
        assert (await provider.complete(Call(TURNS, heard.hear))).text == "".join(PIECES)
    assert heard == PIECES


async def test_the_connection_is_used_again(wire: Wire) -> None:
    async with served(wire, lambda: streamed(wire.chunks(["Hi"]))) as (provider, server):
        for _ in range(3):
            await provider.complete(Call(TURNS, lambda _: None))
        assert len(server.tasks) == 1


async def test_hundreds_of_answers_stream_at_once() -> None:
    everyone = asyncio.Event()
    began = 0

    async def handler(_: dict[str, Any]) -> Answer:
        async def body() -> AsyncIterator[bytes]:
            nonlocal began
            began += 1
            if began == 300:
                everyone.set()
            await everyone.wait()
            for part in OLLAMA.chunks(["Hi"]):
                yield part

        return 200, {}, body()

    async with served_by(OLLAMA, handler, seconds=60) as (provider, _):
        answers = await asyncio.gather(*(provider.complete(Call(TURNS, lambda _: None)) for _ in range(300)))
    assert {answer.text for answer in answers} == {"Hi"}


async def test_the_servers_counts_are_only_taken_where_they_are_counts() -> None:
    usage = {"prompt_tokens": "many", "completion_tokens": -1, "total_tokens": 2**40}
    body = json.loads(OPENAI.whole("Hi")) | {"usage": usage, "model": {"not": "a name"}}
    async with served(OPENAI, lambda: (200, {}, json.dumps(body).encode())) as (provider, _):
        answer = await provider.complete(Call([Message("user", "Hi")]))
    assert (answer.model, answer.input_tokens, answer.output_tokens, answer.cached_tokens) == ("tiny", None, None, None)
