"""Chat completions while they are written, by a provider that a test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import asyncpg
import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from app.api.v1 import stream
from app.core.completion import Completion, FinishReason
from app.core.errors import ProviderError, ProviderRejected, ProviderUnavailable
from app.core.items import Delta, Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from app.core.settings.llm import Price
from app.llm.base import Call
from app.llm.images import Images
from app.messages import signals
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import FailingProvider, HeldProvider
from tests.helpers import Member, make_tenant
from tests.llm.test_images import serving as serving_images
from tests.waiting import PATIENCE_SECONDS, until

HELLO: Any = [{"role": "user", "content": "Hello"}]
PRICES = {"held-1": Price(input=1_000_000, output=1_000_000)}
LARGE: Any = [{"role": "user", "content": "x" * 700_000}]


class TellingProvider(HeldProvider):
    """As the held one; `tell` hands on any event, and `items` are what it said where nothing streams."""

    def __init__(self, items: Sequence[Item] = (), reason: FinishReason | None = FinishReason.STOP) -> None:
        super().__init__()
        self._items, self._reason = tuple(items), reason

    async def complete(self, call: Call) -> Completion:
        await super().complete(call)
        text = "".join(item.text for item in self._items if isinstance(item, Message))
        return Completion(
            text, "held-1", 7, 5, cached_tokens=2, finish_reason=self._reason, reasoning_tokens=1, items=self._items
        )

    def tell(self, event: Delta) -> None:
        for listener in self._listeners:
            listener(event)


@asynccontextmanager
async def client_of(client: httpx.AsyncClient, member: Member, **options: Any) -> AsyncIterator[AsyncOpenAI]:
    options = {"timeout": PATIENCE_SECONDS, **options}
    async with AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=member.token, **options) as openais:
        yield openais


async def asking(openais: AsyncOpenAI, **options: Any) -> Any:
    return await openais.chat.completions.create(**{"model": "", "messages": HELLO, **options})


def only(chunk: ChatCompletionChunk) -> dict[str, Any]:
    return chunk.choices[0].delta.model_dump(exclude_unset=True)


CALLS = (
    ToolCallDelta(0, "", "call_a", "get_weather"),
    ToolCallDelta(0, '{"city": '),
    ToolCallDelta(0, '"Oslo"}'),
    ToolCallDelta(1, "", "call_b", "get_time"),
    ToolCallDelta(1, "{}"),
)
WEATHER, CLOCK = {"name": "get_weather", "arguments": ""}, {"name": "get_time", "arguments": ""}
CHUNKS = [
    {"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": WEATHER}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": CLOCK}]},
    {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
]
ITEMS = (
    Reasoning("I wonder."),
    Message("assistant", "Let me look."),
    ToolCall("call_a", "get_weather", '{"city": "Oslo"}'),
    ToolCall("call_b", "get_time", "{}"),
)


async def test_each_piece_is_there_before_the_provider_writes_the_next(listen: Serve) -> None:
    """None waits for another: the provider goes on when the client has read what it said before."""
    provider = TellingProvider(ITEMS)  # it says `stop`, and called tools
    events = [ReasoningDelta("I wonder."), TextDelta("Let me"), TextDelta(" look.\n"), *CALLS]
    expected = [{"reasoning_content": "I wonder."}, {"content": "Let me"}, {"content": " look.\n"}, *CHUNKS]
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            opening = asyncio.create_task(asking(openais, stream=True, stream_options={"include_usage": True}))
            await provider.wait_for_calls(1)
            provider.tell(events[0])
            answer = await opening
            chunks = [await anext(answer), await anext(answer)]
            assert only(chunks[0])["role"] == "assistant"
            assert only(chunks[1]) == expected[0]
            for event, delta in zip(events[1:], expected[1:], strict=True):
                provider.tell(event)
                chunks.append(await anext(answer))
                assert only(chunks[-1]) == delta
            provider.release.set()
            end, usage = [chunk async for chunk in answer]
    assert (end.choices[0].finish_reason, only(end)) == ("tool_calls", {})
    assert usage.choices == []
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens, usage.usage.total_tokens) == (7, 5, 12)
    assert usage.usage.prompt_tokens_details.cached_tokens == 2
    assert usage.usage.completion_tokens_details.reasoning_tokens == 1
    assert {chunk.id for chunk in [*chunks, end, usage]} == {chunks[0].id}


async def test_tools_that_were_called_are_in_the_answer(listen: Serve) -> None:
    provider = TellingProvider(ITEMS)
    provider.release.set()
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            answer = await asking(openais)
            older = await asking(openais, functions=[{"name": "get_weather"}, {"name": "get_time"}])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.reasoning_content == "I wonder."
    called = [(call.id, call.type, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert called == [
        ("call_a", "function", "get_weather", '{"city": "Oslo"}'),
        ("call_b", "function", "get_time", "{}"),
    ]
    assert older.choices[0].finish_reason == "function_call"
    assert older.choices[0].message.function_call.name == "get_weather"
    assert older.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.LENGTH, "length"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.TOOL_CALLS, "stop"),  # there is none that a client could make
        (FinishReason.OTHER, "stop"),
        (None, "stop"),
    ],
)
async def test_an_answer_ends_for_a_reason_that_clients_know(
    listen: Serve, reason: FinishReason | None, word: str
) -> None:
    provider = TellingProvider([Message("assistant", "Well")], reason)
    provider.release.set()
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            assert (await asking(openais)).choices[0].finish_reason == word


# --- what fails


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long the client waits before it comes again; it does not."""
    seconds: list[float] = []

    async def wait(given: float) -> None:
        seconds.append(given)

    monkeypatch.setattr("openai._base_client.anyio.sleep", wait)
    return seconds


@pytest.mark.parametrize(
    ("error", "status", "calls"),
    [(ProviderUnavailable(), 503, 3), (ProviderRejected(), 502, 1)],
)
async def test_what_fails_at_once_has_its_status_in_a_stream_too(
    listen: Serve, superuser: asyncpg.Connection, waited: list[float], error: ProviderError, status: int, calls: int
) -> None:
    """The client comes again after as long as it is told to wait, where that helps."""
    async with listen(FailingProvider(error)) as (_, http):
        for streams in (False, True):
            acme = await make_tenant(http)
            async with client_of(http, acme.user, max_retries=2) as openais:
                with pytest.raises(openai.InternalServerError) as refused:
                    await asking(openais, stream=streams)
            assert refused.value.status_code == status
            assert len(await rows_of(superuser, acme)) == calls
    assert waited == [5.0] * (calls - 1) * 2


async def test_what_was_billed_is_not_asked_for_again(listen: Serve, superuser: asyncpg.Connection) -> None:
    error = ProviderUnavailable()
    error.answer = Completion("half an", "held-1", 3, 2)
    async with listen(FailingProvider(error)) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user, max_retries=2) as openais:
            with pytest.raises(openai.InternalServerError):
                await asking(openais)
    assert len(await rows_of(superuser, acme)) == 1


async def test_what_fails_later_is_raised_by_the_client(listen: Serve) -> None:
    provider = TellingProvider()
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            opening = asyncio.create_task(asking(openais, stream=True))
            await provider.wait_for_calls(1)
            provider.tell(TextDelta("Half"))
            answer = await opening
            read = [only(await anext(answer)), only(await anext(answer))]
            provider.error = ProviderUnavailable()
            provider.release.set()
            with pytest.raises(openai.APIError) as failed:
                await anext(answer)
    assert read[1] == {"content": "Half"}
    assert failed.value.code == "provider_unavailable"
    assert "unavailable" in failed.value.message


# --- who leaves


@pytest.mark.parametrize("streams", [True, False])
async def test_without_store_a_call_ends_with_its_client(
    listen: Serve, superuser: asyncpg.Connection, *, streams: bool
) -> None:
    provider = HeldProvider()
    async with listen(provider, llm_prices=PRICES) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            opening = asyncio.create_task(asking(openais, stream=streams))
            await provider.wait_for_calls(1)
            if streams:
                provider.say("Half of it")
                answer = await opening
                await anext(answer)
                await answer.close()
            opening.cancel()
            await until(lambda: provider.cancelled == 1, "the call to end")
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"], row["content"]) == ("cancelled", "", "")
    assert row["cost_micro_usd"] > 0


async def test_with_store_it_goes_on(listen: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        async with client_of(http, acme.user) as openais:
            opening = asyncio.create_task(asking(openais, stream=True, store=True))
            await provider.wait_for_calls(1)
            provider.say("All of it")
            answer = await opening
            await anext(answer)
            await answer.close()
        provider.release.set()

        async def is_there() -> bool:
            return [row["response"] for row in await rows_of(superuser, acme)] == ["All of it"]

        await until(is_there, "the answer to be stored")


async def test_who_waits_hears_that_the_service_is_there(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(signals, "LOOK_SECONDS", 0.05)
    provider = HeldProvider()
    async with listen(provider) as (_, http):
        acme = await make_tenant(http)
        body = {"model": "held-1", "messages": HELLO, "stream": True}
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=acme.user.headers) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == ": keep-alive"
            provider.say("There")
            provider.release.set()
            text = "\n".join([line async for line in lines])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert '"There"' in text
    assert text.rstrip().endswith("data: [DONE]")


# --- what is held


async def test_pictures_that_any_message_names_are_held_as_bodies_are(listen: Serve) -> None:
    """Those of `POST /messages` too, whose bodies are small, for as long as the call runs."""
    provider = HeldProvider()
    images = Images(10**6, [ip_network("127.0.0.0/8")], ("http",))
    picture = b"\x89PNG\r\n\x1a\n" + b"x" * 60_000
    async with (
        listen(provider, v1_max_body_bytes=100_000, v1_bodies_bytes=200_000) as (app, http),
        serving_images(("200 OK", picture)) as (url, _),
    ):
        container = app.state.container
        app.state.container = replace(container, shared=replace(container.shared, images=images))
        acme = await make_tenant(http)
        body = {"content": [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": url}}]}
        one = asyncio.create_task(http.post("/messages", json=body, headers=acme.user.headers))
        await provider.wait_for_calls(1)
        refused = await http.post("/messages", json=body, headers=acme.user.headers)
        provider.release.set()
        answered = await one
        again = await http.post("/messages", json=body, headers=acme.user.headers)
    await images.close()
    assert (answered.status_code, refused.status_code, again.status_code) == (201, 429, 201)


async def test_bodies_are_held_while_they_are_answered_and_no_more_than_fit(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider, v1_max_body_bytes=1_000_000, v1_bodies_bytes=2_000_000) as (_, http):
        acme, rival = await make_tenant(http), await make_tenant(http)
        async with client_of(http, acme.user, max_retries=0) as openais:
            first = asyncio.create_task(asking(openais, messages=LARGE, store=True))
            await provider.wait_for_calls(1)
            with pytest.raises(openai.RateLimitError):  # of its own
                await asking(openais, messages=LARGE)
            async with client_of(http, rival.user, max_retries=0) as others:
                second = asyncio.create_task(asking(others, messages=LARGE))
                await provider.wait_for_calls(2)
                third_tenant = await make_tenant(http)
                async with client_of(http, third_tenant.user, max_retries=0) as thirds:
                    with pytest.raises(openai.InternalServerError) as refused:  # of the process
                        await asking(thirds, messages=LARGE)
                    small = asyncio.create_task(asking(thirds))
                    await provider.wait_for_calls(3)
                    provider.release.set()
                    answers = await asyncio.gather(first, second, small)
            await asking(openais, messages=LARGE)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after-ms"] == "1000"
    assert all(answer.choices[0].finish_reason == "stop" for answer in answers)
