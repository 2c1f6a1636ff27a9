"""When a provider is asked again: what may pass, what another dialect mends, and never through a long Retry-After."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderUnavailable
from app.llm.base import Call
from app.llm.fallback import Fallback
from app.llm.openai_compatible import OpenAICompatibleProvider
from tests.llm.loopback import Answer, completion, loopback, problem
from tests.llm.scripted import ANSWER, Heard, Scripted
from tests.llm.wire import KEY, OPENAI, TURNS, limits, served_by, sse, streamed
from tests.waiting import within_patience


@pytest.mark.parametrize(("wait", "longest", "calls"), [("0.01", 5, 3), ("8", 5, 1), ("3600", 5, 1), ("0.01", 0, 1)])
async def test_a_retry_after_is_waited_for_only_where_it_is_short(wait: str, longest: float, calls: int) -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return problem(429, **{"retry-after": wait})

    async with loopback(handler) as server:
        provider = OpenAICompatibleProvider(KEY, server.base_url, "", replace(limits(12, 2), longest_wait=longest))
        with pytest.raises(ProviderUnavailable) as caught:
            await provider.complete(Call(TURNS))
        await provider.close()
    assert caught.value.retry_after == float(wait)
    assert len(server.requests) == calls


async def test_a_wait_that_does_not_fit_into_the_call_is_not_begun() -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return problem(503, **{"retry-after": "4"})

    async with served_by(OPENAI, handler, seconds=3, retries=2) as (provider, server):
        with pytest.raises(ProviderUnavailable):
            await provider.complete(Call(TURNS))
    assert len(server.requests) == 1


async def test_a_fallback_does_not_wait_for_a_rate_limit_to_pass() -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return problem(429, **{"retry-after": "3"})

    async with loopback(handler) as server:
        first = OpenAICompatibleProvider(KEY, server.base_url, "", replace(limits(12, 2), longest_wait=0))
        assert await Fallback([first, Scripted(ANSWER)]).complete(Call(TURNS)) == ANSWER
        await first.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "said", "calls"), [(404, "true", 3), (503, "false", 1)])
async def test_the_provider_may_say_itself_whether_to_ask_again(status: int, said: str, calls: int) -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return problem(status, **{"x-should-retry": said, "retry-after-ms": "1"})

    async with served_by(OPENAI, handler, retries=2) as (provider, server):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS))
    assert len(server.requests) == calls


async def test_an_answer_that_began_is_never_asked_for_again() -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return streamed([*OPENAI.chunks(["Hi"])[:1], sse({"error": {"code": 503}})])

    heard = Heard()
    async with served_by(OPENAI, handler, retries=2) as (provider, server):
        with pytest.raises(ProviderUnavailable):
            await provider.complete(Call(TURNS, heard.hear))
    assert (heard, len(server.requests)) == (["Hi"], 1)


def refuses(*names: str, status: int = 400, seen: list[dict[str, Any]]) -> Any:
    """A server that does not know some parameters, and says which."""

    async def handler(body: dict[str, Any]) -> Answer:
        seen.append(body)
        for name in names:
            if name in body:
                return problem(status, f"Unsupported parameter: '{name}' is not supported with this model.")
        return streamed(OPENAI.chunks(["Hi"])) if body.get("stream") else completion("Hi")

    return handler


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_parameter_that_the_server_refuses_is_named_in_the_other_way_and_so_from_then_on(
    status: int, streaming: bool
) -> None:
    seen: list[dict[str, Any]] = []
    on_event = (lambda _: None) if streaming else None
    async with served_by(OPENAI, refuses("max_tokens", status=status, seen=seen)) as (provider, _):
        for _ in range(2):
            assert (await provider.complete(Call(TURNS, on_event))).text == "Hi"
    assert [body.get("max_tokens") for body in seen] == [100, None, None]
    assert [body.get("max_completion_tokens") for body in seen] == [None, 100, 100]


async def test_a_server_that_cannot_be_asked_to_count_is_not() -> None:
    seen: list[dict[str, Any]] = []
    async with served_by(OPENAI, refuses("stream_options", "max_tokens", status=422, seen=seen)) as (provider, _):
        for _ in range(2):
            assert (await provider.complete(Call(TURNS, lambda _: None))).text == "Hi"
    assert ["stream_options" in body for body in seen] == [True, False, False, False]
    assert all(body["stream"] for body in seen)


async def test_a_refusal_that_another_name_does_not_mend_is_not_learnt_from() -> None:
    seen: list[dict[str, Any]] = []
    async with served_by(OPENAI, refuses("max_tokens", "max_completion_tokens", seen=seen)) as (provider, _):
        for _ in range(2):
            with pytest.raises(ProviderRejected) as caught:
                await provider.complete(Call(TURNS))
    assert [next(name for name in body if name.startswith("max")) for body in seen] == [
        "max_tokens",
        "max_completion_tokens",
    ] * 2
    assert "Unsupported" not in str(caught.value)


async def test_any_other_refusal_is_one() -> None:
    seen: list[dict[str, Any]] = []
    async with served_by(OPENAI, refuses("model", seen=seen)) as (provider, _):
        with pytest.raises(ProviderRejected):
            await provider.complete(Call(TURNS, lambda _: None))
    assert len(seen) == 1


async def test_a_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return completion("Hi")

    async with loopback(handler) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        provider = OpenAICompatibleProvider(KEY, "http://llm.example/v1", "", limits())
        assert (await provider.complete(Call(TURNS))).text == "Hi"
        await provider.close()
        assert proxy.paths == ["http://llm.example/v1/chat/completions"]
        monkeypatch.setenv("no_proxy", "llm.example")
        assert OpenAICompatibleProvider(KEY, "http://llm.example/v1", "", limits())._endpoint._proxy is None


async def test_a_redirection_is_not_followed_with_the_key() -> None:
    async def handler(_: dict[str, Any]) -> Answer:
        return 307, {"location": "/elsewhere"}, b""

    async with served_by(OPENAI, handler) as (provider, server):
        with pytest.raises(ProviderRejected):
            await within_patience(provider.complete(Call(TURNS)), "the refusal")
    assert len(server.requests) == 1
