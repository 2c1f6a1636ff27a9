"""Chat completions as OpenAI's own client asks for them: nothing of it is changed but base URL and key."""

import asyncio
import base64
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from app.application import create_app, lifespan
from app.core.config import Settings
from tests.api.v1.conftest import Live
from tests.conftest import client_of
from tests.helpers import Tenant, make_tenant

HELLO: list[Any] = [{"role": "user", "content": "What is async Python?"}]


async def test_a_question_is_answered(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        answer = await client.chat.completions.create(model="mock-echo", messages=HELLO)
        raw = await client.chat.completions.with_raw_response.create(model="mock-echo", messages=HELLO)
    assert answer.id.startswith("chatcmpl-")
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content is not None
    assert choice.message.content.endswith("What is async Python?")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.headers["openai-processing-ms"].isdigit()


async def test_a_stream_is_as_openai_streams(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        whole = await client.chat.completions.create(model="mock-echo", messages=HELLO)
        stream = await client.chat.completions.create(
            model="mock-echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = [chunk async for chunk in stream]
        plain = await client.chat.completions.create(model="mock-echo", messages=HELLO, stream=True)
        without = [chunk async for chunk in plain]

    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.model_dump(exclude_none=True) == {}
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage) == ([], whole.usage)
    assert all("usage" not in chunk.model_fields_set for chunk in without)
    assert without[-1].choices[0].finish_reason == "stop"


async def test_it_is_a_message_like_any_other(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        kept = await client.chat.completions.create(model="mock-echo", messages=HELLO, store=True)
        passing = await client.chat.completions.create(model="mock-echo", messages=HELLO)
    rows = {row["id"]: row for row in (await live.client.get("/messages", headers=tenant.user.headers)).json()}
    kept_row, passing_row = (rows[each.id.removeprefix("chatcmpl-")] for each in (kept, passing))
    assert (kept_row["content"], passing_row["content"]) == ("What is async Python?", "")
    assert kept_row["response"] == kept.choices[0].message.content
    assert passing_row["response"] == ""
    for row in (kept_row, passing_row):
        assert row["status"] == "completed"
        assert row["output_tokens"] == kept.usage.completion_tokens  # type: ignore[union-attr]


async def test_a_key_is_a_key(live: Live, tenant: Tenant) -> None:
    body = {"name": "a client", "scopes": ["messages:write"]}
    key = (await live.client.post("/api-keys", json=body, headers=tenant.user.headers)).json()["key"]
    async with live.openai() as client:
        client.api_key = key
        answer = await client.chat.completions.create(model="mock-echo", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


def with_picture(url: str) -> list[Any]:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


async def test_a_picture_is_shown_to_the_model(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        answer = await client.chat.completions.create(
            model="mock-echo", messages=with_picture(f"data:image/png;base64,{PNG}")
        )
    assert "with 1 image" in str(answer.choices[0].message.content)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/cat.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        f"data:image/png,{PNG}",
        "data:image/png;base64,%%%%",
        "data:image/png;base64,aGVsbG8=",
    ],
)
async def test_a_picture_that_is_none_is_named(live: Live, tenant: Tenant, url: str) -> None:
    async with live.openai(tenant.user) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="mock-echo", messages=with_picture(url))
    assert (refused.value.code, refused.value.param) == ("invalid_image", "messages[0].content[1].image_url.url")


# --- what goes wrong


@pytest.mark.parametrize(
    ("kind", "asked", "code", "param"),
    [
        (openai.BadRequestError, {"n": 2}, "unsupported_value", "n"),
        (openai.BadRequestError, {"temperature": 3}, "invalid_value", "temperature"),
        (openai.BadRequestError, {"messages": []}, "missing_required_parameter", "messages"),
    ],
)
async def test_errors_are_openais(
    live: Live, tenant: Tenant, kind: type[openai.APIStatusError], asked: dict[str, Any], code: str, param: str
) -> None:
    before = len(live.requests)
    async with live.openai(tenant.user) as client:
        with pytest.raises(kind) as refused:
            await client.chat.completions.create(**{"model": "mock-echo", "messages": HELLO, **asked})
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.request_id
    assert len(live.requests) == before + 1


async def test_who_has_no_key_is_told_so(live: Live) -> None:
    async with live.openai() as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="mock-echo", messages=HELLO)
    assert refused.value.code == "invalid_api_key"


async def test_a_key_that_only_reads_may_not_ask(live: Live, tenant: Tenant) -> None:
    body = {"name": "a reader", "scopes": ["messages:read"]}
    key = (await live.client.post("/api-keys", json=body, headers=tenant.user.headers)).json()["key"]
    async with live.openai() as client:
        client.api_key = key
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.chat.completions.create(model="mock-echo", messages=HELLO)
    assert refused.value.code == "missing_scope"


async def test_over_budget_the_client_asks_once(live: Live) -> None:
    poor = await make_tenant(live.client)
    await live.client.put("/admin/budget", json={"limit_micro_usd": 1}, headers=poor.admin.headers)
    before = len(live.requests)
    async with live.openai(poor.user) as client:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(model="mock-echo", messages=HELLO, stream=stream)
            assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
    assert len(live.requests) == before + 2


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("DELETE", "/v1/embeddings", 405, "method_not_supported"),
    ],
)
async def test_what_is_not_there_has_openais_shape(live: Live, method: str, path: str, status: int, code: str) -> None:
    answer = await live.client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "openai-processing-ms" in answer.headers


async def test_a_body_that_is_too_large_is_refused_unread(live: Live, tenant: Tenant) -> None:
    headers = {**tenant.user.headers, "Content-Length": str(2**40)}
    async with client_of(live.app) as client:
        answer = await client.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_the_same_request_sent_at_once_under_one_key_is_one_message(live: Live, tenant: Tenant) -> None:
    once = {"Idempotency-Key": "a-key"}
    async with live.openai(tenant.user, max_retries=20) as client:
        answers = await asyncio.gather(
            *(client.chat.completions.create(model="mock-echo", messages=HELLO, extra_headers=once) for _ in range(10))
        )
        with pytest.raises(openai.ConflictError) as refused:
            await client.chat.completions.create(model="mock-echo", messages=HELLO, store=False, extra_headers=once)
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert refused.value.code == "idempotency_key_reused"


# --- tools and schemas


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_tool_is_called_and_what_it_says_is_used(live: Live, tenant: Tenant, *, streams: bool) -> None:
    turns: list[Any] = [{"role": "user", "content": "Please call get_weather"}]
    async with live.openai(tenant.user) as client:
        if streams:
            async with client.chat.completions.stream(model="mock-echo", messages=turns, tools=TOOLS) as stream:
                called = (await stream.get_final_completion()).choices[0]
        else:
            called = (await client.chat.completions.create(model="mock-echo", messages=turns, tools=TOOLS)).choices[0]  # type: ignore[assignment]
        assert called.finish_reason == "tool_calls"
        assert called.message.tool_calls
        (call,) = called.message.tool_calls
        assert call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        turns.append(called.message.model_dump(exclude_none=True, exclude={"parsed"}))
        turns.append({"role": "tool", "tool_call_id": call.id, "content": "Rain all day"})
        answer = await client.chat.completions.create(model="mock-echo", messages=turns, tools=TOOLS)
    assert answer.choices[0].finish_reason == "stop"
    assert "Rain all day" in str(answer.choices[0].message.content)


class City(BaseModel):
    name: str
    inhabitants: int


async def test_an_answer_is_held_to_a_schema(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        answer = await client.chat.completions.parse(model="mock-echo", messages=HELLO, response_format=City)
        anything = await client.chat.completions.create(
            model="mock-echo", messages=HELLO, response_format={"type": "json_object"}
        )
    assert isinstance(answer.choices[0].message.parsed, City)
    assert isinstance(json.loads(str(anything.choices[0].message.content)), dict)


# --- limits


async def test_who_asks_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit_enabled": True, "rate_limit_user": "2/hour"})
    app = create_app(limited)
    async with lifespan(app), client_of(app) as client:
        acme = await make_tenant(client)
        body = {"model": "mock-echo", "messages": HELLO}
        first = await client.post("/v1/chat/completions", json=body, headers=acme.user.headers)
        for _ in range(2):
            refused = await client.post("/v1/chat/completions", json=body, headers=acme.user.headers)
    assert first.status_code == 200
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert first.headers["x-ratelimit-reset-requests"] == "3600s"
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after-ms"]) == 1000 * int(refused.headers["retry-after"])
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_conversation_larger_than_our_own_bodies_is_taken(live: Live, tenant: Tenant) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 400_000}, *HELLO]
    async with live.openai(tenant.user) as client:
        answer = await client.chat.completions.create(model="mock-echo", messages=long)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 400_000
