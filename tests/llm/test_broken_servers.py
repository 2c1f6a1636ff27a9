"""Each adapter against servers that fail, hang, break off, send garbage or never stop."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.core.items import AT_WORK, Delta, TextDelta
from app.llm.base import Call, Completion, LLMProvider
from app.llm.deadline import Deadline
from tests.clock import move_on, run
from tests.llm.loopback import Answer, Cut, problem
from tests.llm.scripted import Heard
from tests.llm.wire import KEY, TURNS, WIRES, Wire, chunks, served, served_by, streamed
from tests.waiting import within_patience

Asking = Callable[[LLMProvider], Awaitable[Completion]]


@pytest.fixture(params=WIRES, ids=str)
def wire(request: pytest.FixtureRequest) -> Wire:
    return request.param


@pytest.fixture(params=["whole", "streamed"])
def call(request: pytest.FixtureRequest) -> Asking:
    if request.param == "whole":
        return lambda provider: provider.complete(Call(TURNS))
    return lambda provider: provider.complete(Call(TURNS, lambda _: None))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, ProviderRejected),
        (400, ProviderRejected),
        (401, ProviderRejected),
        (404, ProviderRejected),
        (408, ProviderTimeout),
        (429, ProviderUnavailable),
        (500, ProviderError),
        (502, ProviderUnavailable),
        (503, ProviderUnavailable),
        (504, ProviderTimeout),
        (529, ProviderUnavailable),
    ],
)
async def test_a_status_is_a_provider_error_without_the_providers_words(
    wire: Wire, call: Asking, status: int, error: type[ProviderError], capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"Incorrect API key provided: {KEY}"
    async with served(wire, lambda: problem(status, said, **{"x-request-id": f"no {KEY}"})) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await call(provider)

    assert type(caught.value) is error
    assert caught.value.retry_after is None
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "9" * 9}, 86_400),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
async def test_a_rate_limit_tells_when_to_come_back(
    wire: Wire, call: Asking, headers: dict[str, str], seconds: float | None
) -> None:
    async with served(wire, lambda: problem(429, **headers)) as (provider, _):
        with pytest.raises(ProviderUnavailable) as caught:
            await call(provider)
    assert caught.value.retry_after == seconds


async def test_a_passing_failure_is_retried_and_a_lasting_one_a_bounded_number_of_times(
    wire: Wire, call: Asking
) -> None:
    passing = {"retry-after-ms": "1"}
    streaming = []

    async def handler(body: dict[str, Any]) -> Answer:
        streaming.append(bool(body.get("stream")))
        if len(streaming) == 1:
            return problem(503, **passing)
        return streamed(wire.chunks(["Second time lucky."])) if streaming[0] else (200, {}, wire.whole("Lucky."))

    async with served_by(wire, handler, retries=2) as (provider, server):
        assert "ucky." in (await call(provider)).text
        assert len(server.requests) == 2

    async with served(wire, lambda: problem(429, **passing), retries=2) as (provider, server):
        with pytest.raises(ProviderUnavailable):
            await call(provider)
        assert len(server.requests) == 3

    async with served(wire, lambda: problem(400), retries=2) as (provider, server):
        with pytest.raises(ProviderRejected):
            await call(provider)
        assert len(server.requests) == 1


async def test_a_server_that_does_not_listen_is_unavailable(wire: Wire, call: Asking) -> None:
    provider = wire.make("http://127.0.0.1:1", 5, 0)
    with pytest.raises(ProviderUnavailable):
        await call(provider)
    await provider.close()


@pytest.mark.parametrize("parts", [0, 1, 2])
async def test_a_stream_that_breaks_off_is_never_a_complete_answer(wire: Wire, parts: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        for part in wire.chunks(["one", "two", "three"])[:parts]:
            yield part
        raise Cut

    heard = Heard()
    async with served(wire, lambda: (200, {}, body())) as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await provider.complete(Call(TURNS, heard.hear))
    assert heard == ["one", "two", "three"][:parts]


@pytest.mark.parametrize("parts", [0, 1, 3])
async def test_a_stream_that_ends_too_soon_is_never_a_complete_answer(wire: Wire, parts: int) -> None:
    """The transfer is whole; the answer in it is not. So a proxy ends it that lost its server."""
    async with served(wire, lambda: streamed(wire.chunks(["one", "two", "three"])[:parts])) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, lambda _: None))
    assert type(caught.value) is ProviderError


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"{}",
        b"null",
        b'"done"',
        b"\xff\xfe",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"content": 5, "usage": 1}',
        b'{"message": {"content": 5}, "done": true}',
        b'{"message": {"content": "Hi"}, "done": false}',
    ],
)
async def test_garbage_is_a_provider_error(wire: Wire, body: bytes) -> None:
    async with served(wire, lambda: (200, {}, body)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS))
    assert type(caught.value) is ProviderError


@pytest.mark.parametrize(
    "garbage",
    [
        b"not a protocol\n\n",
        b"data: not json\n\n",
        b"event: message_start\ndata: not json\n\n",
        b"event: content_block_delta\ndata: []\n\n",
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'event: x\ndata: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 5}}\n\n',
        b'{"message": {"content": [5]}, "done": true}\n',
        b"\xff\xfe\n\n",
    ],
)
async def test_garbage_in_a_stream_is_a_provider_error(wire: Wire, garbage: bytes) -> None:
    heard = Heard()
    first, *_ = wire.chunks(["one", "two"])
    async with served(wire, lambda: streamed([first, garbage])) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, heard.hear))
    assert type(caught.value) is ProviderError
    assert heard == ["one"]


@pytest.mark.parametrize("text", [None, [5], 5])
async def test_an_answer_without_a_text_is_a_provider_error(wire: Wire, text: Any) -> None:
    async with served(wire, lambda: (200, {}, wire.whole(text))) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS))


@pytest.mark.parametrize("lines", [True, False], ids=["of small chunks", "in one line"])
async def test_an_answer_of_100_megabytes_does_not_fill_the_memory(wire: Wire, call: Asking, lines: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        part = b": nothing yet\n" * 5000 if lines else b"x" * 65536
        for _ in range(100 * 2**20 // len(part)):
            yield part

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with served(wire, lambda: (200, {}, body())) as (provider, server):
        with pytest.raises(ProviderError):
            await call(provider)
        assert server.sent < 32 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80 * 1024


async def test_an_answer_that_announces_too_many_bytes_is_not_read(wire: Wire, call: Asking) -> None:
    async with served(wire, lambda: (200, {"content-length": "100000000"}, chunks([b"x"]))) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await call(provider)
    assert type(caught.value) is ProviderError


async def test_a_compressed_answer_is_not_unpacked(wire: Wire, call: Asking) -> None:
    async with served(wire, lambda: (200, {"content-encoding": "gzip"}, b"\x1f\x8b")) as (provider, _):
        with pytest.raises(ProviderError):
            await call(provider)


async def test_a_cancelled_call_closes_the_connection_at_once(wire: Wire, call: Asking) -> None:
    asked = asyncio.Event()

    async def never(_: dict[str, Any]) -> Answer:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with served_by(wire, never, seconds=60) as (provider, server):
        task = asyncio.ensure_future(call(provider))
        await asked.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        await within_patience(server.client_gone.wait(), "the connection to be closed")


async def test_a_call_cancelled_between_two_pieces_closes_the_connection_at_once(wire: Wire) -> None:
    heard: asyncio.Queue[Delta] = asyncio.Queue()
    async with served(wire, lambda: (200, {}, one_and_silence(wire)), seconds=60) as (provider, server):
        task = asyncio.create_task(
            provider.complete(Call(TURNS, lambda event: event is AT_WORK or heard.put_nowait(event)))
        )
        assert await heard.get() == TextDelta("one")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        await within_patience(server.client_gone.wait(), "the connection to be closed")


async def one_and_silence(wire: Wire, pieces: int = 1) -> AsyncIterator[bytes]:
    for part in wire.chunks(["one", "two"])[:pieces]:
        yield part
    await asyncio.Event().wait()


@pytest.mark.parametrize("pieces", [0, 1])
def test_silence_before_or_between_the_pieces_ends_the_call_and_its_connection(wire: Wire, pieces: int) -> None:
    heard = Heard()

    async def answer() -> AsyncIterator[bytes]:
        if not pieces:
            move_on(2000)
        async for part in one_and_silence(wire, pieces):
            yield part

    def hear(event: Delta) -> None:
        heard.hear(event)
        if event is not AT_WORK:
            asyncio.get_running_loop().call_soon(move_on, 2000)

    async def silence() -> None:
        async with served(wire, lambda: (200, {}, answer()), seconds=9000) as (provider, server):
            with pytest.raises(ProviderTimeout):
                await Deadline(provider, 1500, 1000, 9000).complete(Call(TURNS, hear))
            await within_patience(server.client_gone.wait(), "the connection to be closed")

    run(silence())
    assert heard == ["one"][:pieces]


async def test_the_adapters_own_timeout_bounds_a_silence_too(wire: Wire) -> None:
    async with served(wire, lambda: (200, {}, one_and_silence(wire)), seconds=0.2) as (provider, _):
        with pytest.raises(ProviderTimeout):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_the_deadline_bounds_the_whole_call_with_its_retries(wire: Wire, call: Asking) -> None:
    async def never(_: dict[str, Any]) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async with served_by(wire, never, seconds=30, retries=5) as (provider, _):
        with pytest.raises(ProviderTimeout):
            await call(Deadline(provider, 0.2, 30, 30))
