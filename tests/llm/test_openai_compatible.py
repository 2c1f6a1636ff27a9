"""What only the openai provider does."""

from typing import Any

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderUnavailable
from app.llm.base import Call
from app.llm.openai.dialect import Dialect
from app.llm.openai_compatible import OpenAICompatibleProvider
from tests.llm.loopback import completion
from tests.llm.wire import KEY, OPENAI, OPENAI_USAGE, TURNS, limits, openai_chunk, served, sse, streamed

VARIABLES = ("ADMIN_KEY", "API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID")


async def test_the_turns_the_key_and_the_limit_are_sent() -> None:
    async with served(OPENAI, lambda: completion("Hi")) as (provider, server):
        await provider.complete(Call(TURNS))
    headers, body = server.requests[0]
    assert server.paths == ["/v1/chat/completions"]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": turn.role, "content": turn.content} for turn in TURNS]
    assert body["max_tokens"] == 100


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://ours.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
        ("https://notopenai.com/v1", "max_tokens"),
    ],
)
async def test_the_limit_has_the_name_that_the_server_knows(url: str, limit: str) -> None:
    provider = OpenAICompatibleProvider(KEY, url, "tiny", limits())
    assert Dialect.of(provider._endpoint.url).limit == limit
    await provider.close()


async def test_a_stream_is_asked_to_count_its_tokens() -> None:
    async with served(OPENAI, lambda: streamed(OPENAI.chunks(["Hi"]))) as (provider, server):
        await provider.complete(Call(TURNS, lambda _: None))
    assert server.requests[0][1]["stream_options"] == {"include_usage": True}


async def test_a_server_that_counts_no_tokens_is_fine() -> None:
    async with served(OPENAI, lambda: completion("Hi", usage=None)) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (None, None, None)


async def test_a_stream_without_a_finish_reason_is_no_answer_though_it_says_done() -> None:
    parts = [sse(openai_chunk({"content": "Hi"})), b"data: [DONE]\n\n"]
    async with served(OPENAI, lambda: streamed(parts)) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, lambda _: None))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": KEY, "type": "server_error", "code": None}, ProviderError),
        ({"message": KEY, "code": 503}, ProviderUnavailable),
        ({"message": KEY, "code": 400}, ProviderRejected),
    ],
)
async def test_an_error_inside_a_stream_is_a_provider_error(
    error: dict[str, Any], expected: type[ProviderError], capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [sse(openai_chunk({"content": "Hi"})), sse({"error": error})]
    async with served(OPENAI, lambda: streamed(parts)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, lambda _: None))
    assert type(caught.value) is expected
    assert KEY not in capsys.readouterr().out


async def test_what_a_content_filter_left_is_no_answer() -> None:
    filtered = {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant", "content": "H"}}
    async with served(OPENAI, lambda: completion("", choices=[filtered])) as (provider, _):
        with pytest.raises(ProviderRejected):
            await provider.complete(Call(TURNS))


async def test_comments_and_chunks_without_a_choice_are_passed_over() -> None:
    parts = [b": processing\r\n\r\n", sse(openai_chunk({}, choices=[])), *OPENAI.chunks(["Hi"])]
    async with served(OPENAI, lambda: streamed(parts)) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert (answer.text, answer.output_tokens) == ("Hi", OPENAI_USAGE["completion_tokens"])


async def test_the_environment_configures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"OPENAI_{name}", "from-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-custom: from-the-environment")
    async with served(OPENAI, lambda: completion("Hi")) as (provider, server):
        await provider.complete(Call(TURNS))
    assert "from-the-environment" not in str(server.requests[0][0])
    provider = OpenAICompatibleProvider(KEY, "", "", limits())
    assert str(provider._client.base_url) == "https://api.openai.com/v1/"
    await provider.close()
