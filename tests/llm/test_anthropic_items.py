"""Items, options, thoughts and tool calls on the wire of Anthropic's messages."""

import json
from typing import Any

import pytest

from app.core.completion import FinishReason
from app.core.errors import ProviderError
from app.core.items import (
    Delta,
    Image,
    Item,
    Message,
    Options,
    OutputFormat,
    Reasoning,
    ReasoningDelta,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
)
from app.llm.base import Call
from app.llm.claude.manner import Manner
from app.llm.claude.request import messages_of, options_of, system_of
from tests.llm.loopback import Answer, problem
from tests.llm.wire import ANTHROPIC, TURNS, anthropic_message, anthropic_start, event, served, served_by, streamed

HERE = "anthropic:127.0.0.1"
SIGNATURE = "EqQBCgIYAhIM/+==é"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
WANTED = OutputFormat(SCHEMA, "thing")
CONTENT: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE},
    {"type": "redacted_thinking", "data": "xyz="},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
]
ITEMS = (
    Reasoning("Hm.", HERE, {"signature": SIGNATURE}),
    Reasoning("", HERE, {"data": "xyz="}),
    Message("assistant", "Let me see."),
    ToolCall("toolu_1", "f", '{"a": 1}'),
    ToolCall("toolu_2", "g", "{}"),
)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    return (
        event("content_block_start", index=index, content_block=start)
        + b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
        + event("content_block_stop", index=index)
    )


def said(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


START = event("message_start", message=anthropic_message([], None, output_tokens=1))


def end(reason: str = "tool_use", **usage: Any) -> bytes:
    counts = {"output_tokens": 50, **usage}
    return event("message_delta", delta={"stop_reason": reason}, usage=counts) + event("message_stop")


STREAM = [
    START,
    block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "H"},
        {"type": "thinking_delta", "thinking": "m."},
        {"type": "signature_delta", "signature": SIGNATURE},
    ),
    block(1, {"type": "redacted_thinking", "data": "xyz="}),
    event("ping"),
    block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me see."}),
    block(3, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}, *said("", '{"a"', ": 1}")),
    block(4, {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}, *said("")),
    end(output_tokens_details={"thinking_tokens": 40}),
]


async def answered(parts: list[bytes], **options: Any) -> tuple[Any, list[Delta]]:
    heard: list[Delta] = []
    async with served(ANTHROPIC, lambda: streamed(parts)) as (provider, _):
        return await provider.complete(Call(TURNS, heard.append, options=Options(**options))), heard


async def asked(call: Call, *refusals: str) -> list[dict[str, Any]]:
    """The requests that a server saw which refused so often."""
    left = list(refusals)

    async def handler(_: dict[str, Any]) -> Answer:
        return problem(400, left.pop(0)) if left else (200, {}, ANTHROPIC.whole("Hi"))

    async with served_by(ANTHROPIC, handler) as (provider, server):
        provider._output_tokens = 10_000  # type: ignore[attr-defined]
        await provider.complete(call)
        return [body for _, body in server.requests]


async def test_an_answer_is_read_block_by_block_and_seals_are_kept_byte_for_byte() -> None:
    whole = json.dumps(anthropic_message(CONTENT, "tool_use")).encode()
    async with served(ANTHROPIC, lambda: (200, {}, whole)) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert answer.items == ITEMS
    assert (answer.text, answer.finish_reason) == ("Let me see.", FinishReason.TOOL_CALLS)

    answer, heard = await answered(STREAM)
    assert answer.items == ITEMS
    assert (answer.output_tokens, answer.reasoning_tokens, answer.cached_tokens) == (50, 40, 4)
    assert (answer.input_tokens, answer.cache_write_tokens) == (7, 1)
    assert [event for event in heard if event != ReasoningDelta("")] == [
        ReasoningDelta("H"),
        ReasoningDelta("m."),
        ReasoningDelta("", HERE, {"signature": SIGNATURE}),
        ReasoningDelta("", HERE, {"data": "xyz="}),
        TextDelta("Let me see."),
        ToolCallDelta(0, "", "toolu_1", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, "", "toolu_2", "g"),
        ToolCallDelta(1, "{}"),
    ]


async def test_what_was_read_is_sent_as_it_came() -> None:
    results = (ToolResult("toolu_1", "one"), ToolResult("toolu_2", "no", failed=True))
    items: list[Item] = [Message("user", "Hi"), *ITEMS, *results, Message("user", "And?")]
    (body,) = await asked(Call(items))
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": CONTENT},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize("maker", ["anthropic", "anthropic:elsewhere", "openai", ""])
def test_what_another_sealed_is_not_sent(maker: str) -> None:
    thoughts = (
        Reasoning("Hm.", maker, {"signature": "x"}),
        Reasoning("", maker, {"data": "x"}),
        Reasoning("Hm.", HERE),
    )
    items = [Message("user", "Hi"), *thoughts, Message("assistant", "Hello")]
    assert messages_of(items, HERE)[1:] == [{"role": "assistant", "content": "Hello"}]


def test_images_empty_texts_and_foreign_ids_are_sent_as_they_are_taken() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    shown = {"type": "image", "source": source}
    image = Image("image/png", "aGk=")
    items: list[Item] = [
        Message("user", (Text(""), Text("Look"), image)),
        Message("assistant", ""),
        ToolCall("functions.f:0", "f", "{oops"),
        ToolResult("functions.f:0", (image,)),
        ToolCall("call_2", "f", "[1]"),
        ToolResult("call_2", ""),
    ]
    assert messages_of(items, HERE) == [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, shown]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"arguments": "{oops"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions_f_0", "content": [shown]}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "call_2", "name": "f", "input": {"arguments": [1]}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_2"}]},
    ]


def test_every_option_has_its_name_and_what_has_none_is_not_sent() -> None:
    options = Options(
        max_output_tokens=7,
        temperature=1.5,
        top_p=0.5,
        stop=("a",),
        seed=1,
        frequency_penalty=1,
        presence_penalty=1,
        tools=(Tool("f", "Does f.", SCHEMA, True), Tool("g", strict=False)),
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
        output_format=WANTED,
    )
    assert options_of(options, Manner(), 100) == {
        "max_tokens": 7,
        "temperature": 1.0,
        "top_p": 0.5,
        "stop_sequences": ["a"],
        "tools": [
            {"name": "f", "description": "Does f.", "input_schema": SCHEMA, "strict": True},
            {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        ],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert options_of(Options(), Manner(), 100) == {"max_tokens": 100}
    any_object = Options(output_format=OutputFormat(None))
    assert options_of(any_object, Manner(), 100) == {"max_tokens": 100}
    assert system_of(TURNS, any_object) == "Be brief.\n\nAnswer with one JSON object and nothing else."


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_choices_have_other_names(
    choice: ToolChoice | None, parallel: bool | None, sent: dict[str, Any] | None
) -> None:
    options = Options(tools=(Tool("f"),), tool_choice=choice, parallel_tool_calls=parallel)
    assert options_of(options, Manner(), 100).get("tool_choice") == sent


@pytest.mark.parametrize(
    ("effort", "manner", "sent"),
    [
        (
            "low",
            Manner(),
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        ("none", Manner(), {"thinking": {"type": "disabled"}, "temperature": 0.5}),
        ("high", Manner("budget"), {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
        ("minimal", Manner("budget"), {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("high", Manner("never"), {"temperature": 0.5}),
    ],
)
def test_effort_is_told_as_the_model_takes_it(effort: Any, manner: Manner, sent: dict[str, Any]) -> None:
    options = Options(reasoning_effort=effort, temperature=0.5)
    assert options_of(options, manner, 10_000) == {"max_tokens": 10_000, **sent}


def test_who_must_call_a_tool_or_has_no_room_does_not_think() -> None:
    forced = Options(reasoning_effort="high", tools=(Tool("f"),), tool_choice=ToolChoice("required"))
    assert "thinking" not in options_of(forced, Manner(), 10_000)
    assert "thinking" not in options_of(forced, Manner("budget"), 10_000)
    assert "thinking" not in options_of(Options(reasoning_effort="high"), Manner("budget"), 2000)


ADAPTIVE = {"type": "adaptive", "display": "summarized"}
BUDGET = '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".'


async def test_a_model_that_knows_no_effort_gets_a_budget_and_is_remembered() -> None:
    call = Call(TURNS, options=Options(reasoning_effort="low"))
    left = ["adaptive thinking is not supported on this model"]

    async def handler(_: dict[str, Any]) -> Answer:
        return problem(400, left.pop(0)) if left else (200, {}, ANTHROPIC.whole("Hi"))

    async with served_by(ANTHROPIC, handler) as (provider, server):
        provider._output_tokens = 10_000  # type: ignore[attr-defined]
        await provider.complete(call)
        await provider.complete(call)
    thinking = [body["thinking"]["type"] for _, body in server.requests]
    assert thinking == ["adaptive", "enabled", "enabled"]


@pytest.mark.parametrize(
    ("options", "refusals", "gone"),
    [
        ({"reasoning_effort": "low"}, ["This model does not support the effort parameter."], "output_config"),
        ({"reasoning_effort": "low"}, ["effort?", BUDGET], "thinking"),
        ({"reasoning_effort": "none"}, ["thinking.type.disabled is not supported for this model"], "thinking"),
        ({"temperature": 0.5}, ["`temperature` is deprecated for this model."], "temperature"),
        ({"temperature": 0.5, "top_p": 0.5}, ["`temperature` and `top_p` cannot both be specified"], "top_p"),
    ],
)
async def test_what_a_model_does_not_know_is_left_out(options: dict[str, Any], refusals: list[str], gone: str) -> None:
    first, *_, last = await asked(Call(TURNS, options=Options(**options)), *refusals)
    assert gone in first or len(refusals) > 1
    assert gone not in last


async def test_a_refusal_for_another_reason_is_one() -> None:
    with pytest.raises(ProviderError):
        await asked(Call(TURNS, options=Options(temperature=0.5)), "messages: at least one message is required")
    with pytest.raises(ProviderError):
        await asked(Call(TURNS), "thinking? effort? temperature is not supported")


async def test_a_schema_is_enforced_or_filled_in_as_a_tools_input() -> None:
    (body,) = await asked(Call(TURNS, options=Options(output_format=WANTED)))
    assert body["output_config"]["format"]["schema"]["additionalProperties"] is False

    left = ["output_config.format: not supported"]

    async def handler(_: dict[str, Any]) -> Answer:
        if left:
            return problem(400, left.pop())
        call = {"type": "tool_use", "id": "toolu_1", "name": "thing", "input": {}}
        return streamed([START, block(0, call, *said('{"a"', ": 1}")), end()])

    heard: list[Delta] = []
    async with served_by(ANTHROPIC, handler) as (provider, server):
        answer = await provider.complete(Call(TURNS, heard.append, options=Options(output_format=WANTED)))
    body = server.requests[1][1]
    assert "output_config" not in body
    assert [tool["name"] for tool in body["tools"]] == ["thing"]
    assert body["tool_choice"] == {"type": "tool", "name": "thing"}
    assert (answer.text, answer.items, answer.finish_reason) == ('{"a": 1}', (), FinishReason.STOP)
    assert [event for event in heard if isinstance(event, TextDelta)] == [TextDelta('{"a"'), TextDelta(": 1}")]


async def test_a_schema_that_is_too_hard_for_one_call_says_nothing_of_others() -> None:
    left = ["The compiled grammar is too large"]
    calls: list[bool] = []

    async def handler(body: dict[str, Any]) -> Answer:
        calls.append("output_config" in body)
        if left:
            return problem(400, left.pop())
        content = [{"type": "tool_use", "id": "t", "name": "thing", "input": {"a": 1}}]
        return 200, {}, json.dumps(anthropic_message(content, "tool_use")).encode()

    async with served_by(ANTHROPIC, handler) as (provider, _):
        for _ in range(2):
            await provider.complete(Call(TURNS, options=Options(output_format=WANTED)))
    assert calls == [True, False, True]


async def test_a_stream_is_read_however_the_network_slices_it() -> None:
    data = b"".join(STREAM)
    answer, _ = await answered([data[at : at + 1] for at in range(len(data))])
    assert answer.items == ITEMS
    for at in range(1, len(data), 41):
        answer, _ = await answered([data[:at], data[at:]])
        assert answer.items == ITEMS


@pytest.mark.parametrize(
    "odd",
    [
        event("content_block_delta", index=9, delta={"type": "input_json_delta", "partial_json": "{"}),
        event("content_block_delta", index=9, delta={"type": "signature_delta", "signature": "x"}),
        event("content_block_stop", index=9),
        block(9, {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}, *said("{}")),
        block(9, {"type": "of_tomorrow"}, {"type": "of_tomorrow"}),
        block(9, {"type": "thinking", "thinking": "", "signature": None}),
    ],
)
async def test_what_is_of_no_use_is_passed_over(odd: bytes) -> None:
    answer, _ = await answered([START, odd, *STREAM[4:]])
    assert answer.items == ITEMS[2:]


async def test_a_call_that_comes_whole_in_its_first_event_is_understood() -> None:
    whole = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    answer, _ = await answered([START, block(0, whole), end("end_turn")])
    assert answer.items == (ITEMS[3],)
    assert answer.finish_reason == FinishReason.TOOL_CALLS


async def test_a_call_that_was_cut_is_kept_as_far_as_it_came() -> None:
    start = event(
        "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
    )
    cut = event("content_block_delta", index=0, delta=said('{"a')[0])
    answer, _ = await answered([anthropic_start(), start, cut, end("max_tokens")])
    assert answer.items == (ToolCall("t", "f", '{"a'),)
    assert answer.finish_reason == FinishReason.LENGTH
