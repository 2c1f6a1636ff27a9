"""Shapes that servers of a protocol were seen to send: no text is lost over them, and no count."""

import json
from typing import Any

import pytest

from app.core.completion import FinishReason
from app.core.errors import EmptyAnswer, ProviderError, ProviderRejected, ProviderUnavailable
from app.core.items import AT_WORK, Delta, ReasoningDelta
from app.llm.base import Call
from tests.llm.loopback import completion
from tests.llm.scripted import Heard
from tests.llm.wire import (
    ANTHROPIC,
    OLLAMA,
    OPENAI,
    TURNS,
    anthropic_end,
    anthropic_message,
    anthropic_start,
    anthropic_text,
    event,
    ollama_line,
    openai_chunk,
    served,
    sse,
    streamed,
)

WITHOUT_TEXT = [
    sse({"id": "x", "object": "", "created": 0, "model": "", "prompt_filter_results": []}),
    sse({"choices": None}),
    sse({"choices": [{"index": 0, "content_filter_offsets": {}, "finish_reason": None}]}),
    sse({"choices": [{"index": 0, "delta": None}]}),
    sse({"choices": [None]}),
    sse(openai_chunk({"content": None, "role": "assistant"})),
    sse(openai_chunk({"reasoning_content": "Hm."})),
    sse(openai_chunk({}, choices={})),
    b"data: null\n\n",
    b"data: []\n\n",
    b"data: keep-alive\n\n",
    b"data:\n\n",
    b"data: \n\n",
    b"event: ping\ndata:\n\n",
    b": a comment\n\n",
]


@pytest.mark.parametrize("odd", WITHOUT_TEXT)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
async def test_what_holds_no_text_is_passed_over(odd: bytes, where: str) -> None:
    parts = OPENAI.chunks(["Hel", "lo"])
    parts.insert({"first": 0, "middle": 1, "last": 2}[where], odd)
    heard = Heard()
    async with served(OPENAI, lambda: streamed(parts)) as (provider, _):
        answer = await provider.complete(Call(TURNS, heard.hear))
    assert heard == ["Hel", "lo"]
    assert (answer.text, answer.output_tokens, answer.finish_reason) == ("Hello", 5, FinishReason.STOP)


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hello"}]


async def test_a_list_of_parts_is_a_text() -> None:
    async with served(OPENAI, lambda: completion(PARTS)) as (provider, _):
        assert (await provider.complete(Call(TURNS))).text == "Hello"
    parts = [sse(openai_chunk({"content": part})) for part in (PARTS[:1], PARTS[1:], " you")]
    heard = Heard()
    async with served(OPENAI, lambda: streamed([*parts, *OPENAI.chunks([])])) as (provider, _):
        assert (await provider.complete(Call(TURNS, heard.hear))).text == "Hello you"
    assert heard == ["Hello", " you"]


async def test_a_part_alone_and_a_list_of_strings_are_texts() -> None:
    for content in ({"type": "text", "text": "Hello"}, ["Hel", "lo"], [None, "Hello"]):
        async with served(OPENAI, lambda content=content: completion(content)) as (provider, _):  # type: ignore[misc]
            assert (await provider.complete(Call(TURNS))).text == "Hello"


@pytest.mark.parametrize("message", [{"role": "assistant", "tool_calls": []}, {"role": "assistant", "refusal": ""}])
async def test_a_message_without_a_content_is_an_empty_answer(message: dict[str, Any]) -> None:
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    for choices in ([choice], [], None):
        async with served(OPENAI, lambda choices=choices: completion("", choices=choices)) as (provider, _):  # type: ignore[misc]
            with pytest.raises(EmptyAnswer) as caught:
                await provider.complete(Call(TURNS))
        assert caught.value.answer is not None
        assert caught.value.answer.output_tokens == 5


async def test_a_server_that_knows_no_streams_is_understood() -> None:
    heard = Heard()
    async with served(OPENAI, lambda: completion("Hello")) as (provider, _):
        assert (await provider.complete(Call(TURNS, heard.hear))).text == "Hello"
    assert heard == ["Hello"]


async def test_a_last_chunk_with_the_whole_message_does_not_say_it_twice() -> None:
    last = openai_chunk({}, "stop")
    last["choices"][0]["message"] = {"role": "assistant", "content": "Hello"}
    async with served(OPENAI, lambda: streamed([sse(openai_chunk({"content": "Hello"})), sse(last)])) as (provider, _):
        assert (await provider.complete(Call(TURNS, lambda _: None))).text == "Hello"


async def test_bytes_that_are_no_text_cost_a_character_and_not_the_answer() -> None:
    odd = sse(openai_chunk({"content": "a?b"})).replace(b"?", b"\xff")
    async with served(OPENAI, lambda: streamed([odd, *OPENAI.chunks(["Hi"])])) as (provider, _):
        assert (await provider.complete(Call(TURNS, lambda _: None))).text == "a\ufffdbHi"
    async with served(OLLAMA, lambda: streamed([ollama_line("Hi"), b"null\n{}\n", *OLLAMA.chunks([" you"])])) as (
        provider,
        _,
    ):
        assert (await provider.complete(Call(TURNS, lambda _: None))).text == "Hi you"


async def test_a_claude_that_ends_without_its_last_event_has_ended() -> None:
    parts = [anthropic_start(), anthropic_text("Hi"), event("message_delta", delta={"stop_reason": "end_turn"})]
    async with served(ANTHROPIC, lambda: streamed(parts)) as (provider, _):
        assert (await provider.complete(Call(TURNS, lambda _: None))).finish_reason == FinishReason.STOP


COUNTED = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"usage": COUNTED}, (1000, 100, None)),
        ({"usage": None, "x_groq": {"usage": COUNTED}}, (1000, 100, None)),
        ({"usage": COUNTED | {"prompt_cache_hit_tokens": 900}}, (1000, 100, 900)),
        ({"usage": COUNTED | {"cached_tokens": 900}}, (1000, 100, 900)),
        ({"usage": COUNTED | {"prompt_tokens_details": {"cached_tokens": 2 * 10**9}}}, (1000, 100, 1000)),
        ({"usage": COUNTED | {"prompt_tokens_details": [1]}}, (1000, 100, None)),
        ({"usage": {"input_tokens": 1000, "output_tokens": 100}}, (1000, 100, None)),
        ({"usage": {"prompt_tokens": 1000.0, "completion_tokens": True}}, (1000, None, None)),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, (0, 0, None)),
        ({"usage": [COUNTED]}, (None, None, None)),
        ({"usage": "many"}, (None, None, None)),
        # Beside the others, as xAI counts, and among them, as OpenAI does.
        (
            {"usage": COUNTED | {"total_tokens": 1400, "completion_tokens_details": {"reasoning_tokens": 300}}},
            (1000, 400, None),
        ),
        ({"usage": COUNTED | {"completion_tokens_details": {"reasoning_tokens": 60}}}, (1000, 100, None)),
        ({"usage": COUNTED | {"total_tokens": 1400, "reasoning_tokens": 300}}, (1000, 400, None)),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
async def test_counts_are_read_where_they_stand(
    changes: dict[str, Any], counts: tuple[int | None, ...], streaming: bool
) -> None:
    parts = [sse(openai_chunk({"content": "Hi"}, "stop")), sse(openai_chunk({}, choices=[]) | changes)]
    async with served(OPENAI, lambda: streamed(parts) if streaming else completion("Hi", **changes)) as (provider, _):
        answer = await provider.complete(Call(TURNS, (lambda _: None) if streaming else None))
    assert answer.text == "Hi"
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == counts


async def test_counts_inside_of_a_choice_are_read() -> None:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop", "usage": COUNTED | {"cached_tokens": 7}}
    async with served(OPENAI, lambda: streamed([sse({"choices": [choice]})])) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (1000, 100, 7)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos_token", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("of_tomorrow", FinishReason.OTHER),
    ],
)
async def test_why_an_answer_ended_has_one_word_for_all_providers(word: str, reason: FinishReason) -> None:
    choice = {"index": 0, "finish_reason": word, "message": {"role": "assistant", "content": "Hi"}}
    async with served(OPENAI, lambda: completion("", choices=[choice])) as (provider, _):
        assert (await provider.complete(Call(TURNS))).finish_reason == reason
    async with served(ANTHROPIC, lambda: streamed([anthropic_start(), anthropic_text("Hi"), anthropic_end(word)])) as (
        provider,
        _,
    ):
        assert (await provider.complete(Call(TURNS, lambda _: None))).finish_reason == reason
    async with served(OLLAMA, lambda: (200, {}, ollama_line("Hi", True, done_reason=word))) as (provider, _):
        assert (await provider.complete(Call(TURNS))).finish_reason == reason


@pytest.mark.parametrize("word", ["error", "abort", "insufficient_system_resource", "content_filter", "refusal"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_what_is_no_answer_keeps_what_it_counted(word: str, streaming: bool) -> None:
    choice = {"index": 0, "finish_reason": word, "message": {"role": "assistant", "content": "Hi"}}
    parts = [sse(openai_chunk({"content": "Hi"})), sse(openai_chunk({}, word, usage=COUNTED))]
    whole = completion("", choices=[choice], usage=COUNTED)
    async with served(OPENAI, lambda: streamed(parts) if streaming else whole) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, (lambda _: None) if streaming else None))
    filtered = word in ("content_filter", "refusal")
    assert type(caught.value) is (ProviderRejected if filtered else ProviderError)
    assert caught.value.answer is not None
    assert (caught.value.answer.text, caught.value.answer.output_tokens) == ("Hi", 100)
    assert caught.value.answer.finish_reason == (FinishReason.CONTENT_FILTER if filtered else FinishReason.ERROR)
    assert not caught.value.unhealthy
    assert not caught.value.transient


@pytest.mark.parametrize("text", [None, "", []])
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_without_text_has_one_outcome(text: Any, streaming: bool) -> None:
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": text}}
    parts = [sse(openai_chunk({"content": text})), sse(openai_chunk({}, "length", usage=COUNTED))]
    whole = completion("", choices=[choice], usage=COUNTED)
    async with served(OPENAI, lambda: streamed(parts) if streaming else whole) as (provider, _):
        with pytest.raises(EmptyAnswer) as caught:
            await provider.complete(Call(TURNS, (lambda _: None) if streaming else None))
    assert caught.value.answer is not None
    assert caught.value.answer.finish_reason == FinishReason.LENGTH
    assert (caught.value.answer.input_tokens, caught.value.answer.output_tokens) == (1000, 100)


@pytest.mark.parametrize("usage", [None, {}, [], {"input_tokens": None}])
async def test_a_claude_that_counts_nothing_is_understood(usage: Any) -> None:
    message = anthropic_message([{"type": "text", "text": "Hi"}]) | {"usage": usage}
    async with served(ANTHROPIC, lambda: (200, {}, json.dumps(message).encode())) as (provider, _):
        assert (await provider.complete(Call(TURNS))).input_tokens is None
    start = event("message_start", message={"id": "x", "model": "tiny-1", "usage": usage})
    end = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    async with served(ANTHROPIC, lambda: streamed([start, anthropic_text("Hi"), end])) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("Hi", None, None)


async def test_thoughts_are_handed_on_as_signs_of_life() -> None:
    thoughts = {
        OPENAI: sse(openai_chunk({"reasoning_content": "Hm."})),
        ANTHROPIC: event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."}),
        OLLAMA: json.dumps({"message": {"content": "", "thinking": "Hm."}, "done": False}).encode() + b"\n",
    }
    for wire, thought in thoughts.items():
        heard: list[Delta] = []
        async with served(wire, lambda wire=wire, thought=thought: streamed([thought, *wire.chunks(["Hi"])])) as (  # type: ignore[misc]
            provider,
            _,
        ):
            assert (await provider.complete(Call(TURNS, heard.append))).text == "Hi"
        assert heard[0] in (AT_WORK, ReasoningDelta("Hm."))


@pytest.mark.parametrize(
    ("body", "error", "healthy"),
    [
        ({"error": {"code": 429, "message": "no"}, "choices": None}, ProviderUnavailable, True),
        ({"error": {"code": "429", "message": "no"}}, ProviderUnavailable, True),
        ({"error": {"code": "rate_limit_exceeded", "message": "no"}}, ProviderUnavailable, True),
        ({"error": {"type": "invalid_request_error", "message": "no", "code": None}}, ProviderRejected, True),
        ({"error": "no"}, ProviderError, False),
        (
            {"choices": [{"error": {"code": 502, "message": "no"}, "finish_reason": "error"}]},
            ProviderUnavailable,
            False,
        ),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_error_with_the_status_200_is_the_error_that_it_names(
    body: dict[str, Any], error: type[ProviderError], healthy: bool, streaming: bool
) -> None:
    async with served(OPENAI, lambda: streamed([sse(body)]) if streaming else (200, {}, json.dumps(body).encode())) as (
        provider,
        _,
    ):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, (lambda _: None) if streaming else None))
    assert type(caught.value) is error
    assert caught.value.unhealthy is not healthy
