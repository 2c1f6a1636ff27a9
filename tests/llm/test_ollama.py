"""What only the ollama provider does."""

import json

import pytest

from app.core.errors import ProviderError, ProviderRejected, ProviderUnavailable
from app.llm.base import Call
from app.llm.ollama import OllamaProvider
from tests.llm.loopback import problem
from tests.llm.scripted import Heard
from tests.llm.wire import OLLAMA, TURNS, limits, ollama_end, ollama_line, served, streamed


async def test_the_turns_and_the_lengths_are_sent_and_nothing_is_left_out_silently() -> None:
    async with served(OLLAMA, lambda: (200, {}, ollama_end("Hi"))) as (provider, server):
        await provider.complete(Call(TURNS))
    assert server.paths == ["/v1/api/chat"]
    assert server.requests[0][1] == {
        "model": "tiny",
        "messages": [{"role": turn.role, "content": turn.content} for turn in TURNS],
        "options": {"num_ctx": 4096, "num_predict": 100},
        "stream": False,
        "truncate": False,
        "shift": False,
    }


async def test_a_model_that_is_not_pulled_is_rejected() -> None:
    async with served(OLLAMA, lambda: problem(404)) as (provider, _):
        with pytest.raises(ProviderRejected):
            await provider.complete(Call(TURNS))


async def test_a_full_queue_is_unavailable() -> None:
    async with served(OLLAMA, lambda: problem(503)) as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_an_error_inside_a_stream_is_a_provider_error(capsys: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    parts = [ollama_line("Hi"), b'{"error": "unexpected EOF at /home/secret"}\n']
    async with served(OLLAMA, lambda: streamed(parts)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, heard.hear))
    assert type(caught.value) is ProviderError
    assert heard == ["Hi"]
    assert "secret" not in capsys.readouterr().out


async def test_an_error_with_the_status_200_is_a_provider_error() -> None:
    async with served(OLLAMA, lambda: (200, {}, b'{"error": "no"}')) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS))


async def test_what_follows_the_end_does_not_make_it_one() -> None:
    async with served(OLLAMA, lambda: streamed([ollama_end("Hi"), ollama_line("more")])) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_a_line_has_a_bound_of_its_own() -> None:
    line = json.dumps({"message": {"content": "x" * 2**21}, "done": False}).encode()
    async with served(OLLAMA, lambda: streamed([line, b"\n", ollama_end()])) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_a_prompt_that_was_not_counted_is_not_counted() -> None:
    async with served(OLLAMA, lambda: (200, {}, ollama_line("Hi", True, eval_count=5))) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert (answer.input_tokens, answer.output_tokens) == (None, 5)


async def test_by_default_it_is_on_this_machine() -> None:
    provider = OllamaProvider("", "", limits(), 4096)
    assert provider._endpoint.url == "http://127.0.0.1:11434/api/chat"
    assert provider.models == ("llama3.2",)
    await provider.close()
