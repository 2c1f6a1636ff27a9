"""The openai provider against a loopback server that speaks the wire format, and against broken ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.llm.base import Turn
from app.llm.openai_compatible import OpenAICompatibleProvider
from app.services.llm_service import LLMService
from tests.llm.loopback import Answer, Loopback, completion, loopback, problem

KEY = "sk-very-secret-key"
TURNS = [Turn("system", "Be brief."), Turn("user", "What is async Python?")]


@asynccontextmanager
async def provider_of(
    answer: Callable[[dict[str, Any]], Answer], seconds: float = 5, max_retries: int = 0
) -> AsyncIterator[tuple[OpenAICompatibleProvider, Loopback]]:
    async def handler(body: dict[str, Any]) -> Answer:
        return answer(body)

    async with loopback(handler) as server:
        provider = OpenAICompatibleProvider(KEY, server.base_url, "tiny", seconds, max_retries)
        yield provider, server
        await provider.close()


async def test_an_answer_is_read_with_its_model_and_tokens() -> None:
    async with provider_of(lambda _: completion("Concurrency.")) as (provider, server):
        answer = await provider.complete(TURNS)

    assert (answer.text, answer.model, answer.input_tokens, answer.output_tokens) == ("Concurrency.", "tiny-1", 3, 5)
    headers, body = server.requests[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["model"] == "tiny"
    assert body["messages"] == [{"role": turn.role, "content": turn.content} for turn in TURNS]


async def test_a_server_that_counts_no_tokens_is_fine() -> None:
    async with provider_of(lambda _: completion("Hi", usage=None)) as (provider, _):
        answer = await provider.complete(TURNS)
    assert (answer.input_tokens, answer.output_tokens) == (None, None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(400), ProviderRejected),
        (problem(401, f"Incorrect API key provided: {KEY}"), ProviderRejected),
        (problem(404), ProviderRejected),
        (problem(429), ProviderUnavailable),
        (problem(500), ProviderError),
        (problem(503), ProviderUnavailable),
        ((200, {}, b"not json"), ProviderError),
        ((200, {}, b"[]"), ProviderError),
        ((200, {}, b'{"choices": []}'), ProviderError),
        (completion(None), ProviderError),
        (completion(["a", "list"]), ProviderError),
    ],
)
async def test_every_failure_is_a_provider_error_without_the_providers_words(
    answer: Answer, error: type[ProviderError], capsys: pytest.CaptureFixture[str]
) -> None:
    async with provider_of(lambda _: answer) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(TURNS)

    assert type(caught.value) is error
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in capsys.readouterr().out


async def test_a_passing_failure_is_retried_and_a_lasting_one_a_bounded_number_of_times() -> None:
    answers = iter([problem(503, **{"retry-after-ms": "1"}), completion("Second time lucky.")])
    async with provider_of(lambda _: next(answers), max_retries=2) as (provider, server):
        assert (await provider.complete(TURNS)).text == "Second time lucky."
        assert len(server.requests) == 2

    async with provider_of(lambda _: problem(503, **{"retry-after-ms": "1"}), max_retries=2) as (provider, server):
        with pytest.raises(ProviderUnavailable):
            await provider.complete(TURNS)
        assert len(server.requests) == 3


async def test_a_rejected_request_is_not_retried() -> None:
    async with provider_of(lambda _: problem(400), max_retries=2) as (provider, server):
        with pytest.raises(ProviderRejected):
            await provider.complete(TURNS)
    assert len(server.requests) == 1


async def test_a_server_that_does_not_listen_is_unavailable() -> None:
    provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:1/v1", "tiny", 5, 0)
    with pytest.raises(ProviderUnavailable):
        await provider.complete(TURNS)
    await provider.close()


async def test_the_deadline_bounds_the_whole_call_with_its_retries() -> None:
    async def never(_: dict[str, Any]) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async with loopback(never) as server:
        provider = OpenAICompatibleProvider(KEY, server.base_url, "tiny", timeout=30, max_retries=5)
        with pytest.raises(ProviderTimeout):
            await LLMService(provider, timeout=0.2).complete(TURNS)
        await provider.close()


async def test_a_defect_of_an_adapter_is_a_provider_error_too() -> None:
    class Broken:
        name = "broken"

        async def complete(self, turns: list[Turn]) -> Any:
            raise KeyError("What is async Python?")

        async def close(self) -> None: ...

    with pytest.raises(ProviderError) as caught:
        await LLMService(Broken(), timeout=1).complete(TURNS)
    assert "async" not in str(caught.value)
