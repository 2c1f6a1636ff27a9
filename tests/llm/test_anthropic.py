"""What only the anthropic provider does."""

import json

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.core.items import Message
from app.llm.anthropic import AnthropicProvider
from app.llm.base import Call
from tests.llm.scripted import Heard
from tests.llm.wire import (
    ANTHROPIC,
    KEY,
    TURNS,
    anthropic_end,
    anthropic_message,
    anthropic_start,
    anthropic_text,
    event,
    limits,
    served,
    streamed,
)

VARIABLES = ("API_KEY", "AUTH_TOKEN", "BASE_URL", "PROFILE", "IDENTITY_TOKEN", "ORGANIZATION_ID")


async def test_the_system_turns_the_key_and_the_limit_are_sent() -> None:
    turns = [
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hi"),
        Message("user", "Bye"),
    ]
    async with served(ANTHROPIC, lambda: (200, {}, ANTHROPIC.whole("Bye"))) as (provider, server):
        await provider.complete(Call(turns))
    headers, body = server.requests[0]
    assert server.paths == ["/v1/v1/messages"]  # the loopback's base_url ends with /v1, Anthropic's does not
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "tiny",
        "max_tokens": 100,
        "system": "Be brief.\n\nBe kind.",
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns[2:]],
    }


async def test_without_a_system_turn_none_is_sent() -> None:
    async with served(ANTHROPIC, lambda: (200, {}, ANTHROPIC.whole("Hi"))) as (provider, server):
        await provider.complete(Call([Message("user", "Hi")]))
    assert "system" not in server.requests[0][1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ProviderUnavailable),
        ("rate_limit_error", ProviderUnavailable),
        ("timeout_error", ProviderTimeout),
        ("api_error", ProviderError),
        ("invalid_request_error", ProviderRejected),
        ("of_tomorrow", ProviderError),
    ],
)
async def test_an_error_inside_a_stream_is_a_provider_error(
    kind: str, expected: type[ProviderError], capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [anthropic_start(), anthropic_text("Hi"), event("error", error={"type": kind, "message": KEY})]
    async with served(ANTHROPIC, lambda: streamed(parts)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, lambda _: None))
    assert type(caught.value) is expected
    assert KEY not in capsys.readouterr().out


async def test_thoughts_and_events_of_tomorrow_are_passed_over() -> None:
    thought = {"type": "thinking_delta", "thinking": "Hm."}
    start = [anthropic_start(), event("content_block_delta", index=0, delta=thought), event("of_tomorrow", x=1)]
    heard = Heard()
    async with served(ANTHROPIC, lambda: streamed([*start, anthropic_text("Hi"), anthropic_end()])) as (provider, _):
        assert (await provider.complete(Call(TURNS, heard.hear))).text == "Hi"
    assert heard == ["Hi"]

    content = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": "Hi"}]
    whole = json.dumps(anthropic_message(content)).encode()
    async with served(ANTHROPIC, lambda: (200, {}, whole)) as (provider, _):
        assert (await provider.complete(Call(TURNS))).text == "Hi"


async def test_thoughts_alone_are_no_answer() -> None:
    whole = json.dumps(anthropic_message([{"type": "thinking", "thinking": "Hm."}], "max_tokens")).encode()
    async with served(ANTHROPIC, lambda: (200, {}, whole)) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS))


async def test_a_refusal_is_rejected_and_no_answer() -> None:
    parts = [anthropic_start(), anthropic_text("Well"), anthropic_end("refusal")]
    async with served(ANTHROPIC, lambda: streamed(parts)) as (provider, _):
        with pytest.raises(ProviderRejected):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_the_last_count_of_the_tokens_holds() -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": None, "output_tokens": 8}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage) + event("message_stop")
    async with served(ANTHROPIC, lambda: streamed([anthropic_start(), anthropic_text("Hi"), end])) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == (10 + 4 + 1, 4, 8)


async def test_a_sum_of_tokens_that_no_column_holds_is_not_counted() -> None:
    usage = {"input_tokens": 2**31 - 1, "output_tokens": 8}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage) + event("message_stop")
    async with served(ANTHROPIC, lambda: streamed([anthropic_start(), anthropic_text("Hi"), end])) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert (answer.input_tokens, answer.output_tokens) == (None, 8)


async def test_the_environment_configures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"ANTHROPIC_{name}", "from-the-environment")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-custom: from-the-environment")
    async with served(ANTHROPIC, lambda: (200, {}, ANTHROPIC.whole("Hi"))) as (provider, server):
        await provider.complete(Call(TURNS))
    assert "from-the-environment" not in str(server.requests[0][0])
    provider = AnthropicProvider(KEY, "", "", limits())
    assert str(provider._client.base_url) == "https://api.anthropic.com"
    await provider.close()
