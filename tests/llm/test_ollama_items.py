"""Items, options and tool calls on the wire of Ollama's chat."""

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
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
)
from app.llm.base import Call
from app.llm.ollama_request import messages_of, options_of
from tests.llm.loopback import Answer, problem
from tests.llm.wire import OLLAMA, TURNS, ollama_end, served, served_by, streamed

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
OWN = {"num_ctx": 4096, "num_predict": 100}
SEAL = {"field": "thinking"}


def line(**message: Any) -> bytes:
    return json.dumps({"model": "tiny-1", "message": {"role": "assistant", **message}, "done": False}).encode() + b"\n"


def test_items_are_sent_as_they_are_taken() -> None:
    items: list[Item] = [
        Message("user", (Text("Look"), Image("image/png", "aGk="))),
        Reasoning("Hm.", "ollama", SEAL),
        ToolCall("call_1", "f", '{"a": 1}'),
        ToolCall("call_2", "g", "{oops"),
        ToolResult("call_1", "one"),
        ToolResult("call_9", "nine"),
        Reasoning("other", "openai", {"field": "reasoning"}),
        Message("assistant", "Done."),
    ]
    assert messages_of(items, "ollama") == [
        {"role": "user", "content": "Look", "images": ["aGk="]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [
                {"function": {"name": "f", "arguments": {"a": 1}}},
                {"function": {"name": "g", "arguments": {"arguments": "{oops"}}},
            ],
        },
        {"role": "tool", "content": "one", "tool_name": "f"},
        {"role": "tool", "content": "nine"},
        {"role": "assistant", "content": "Done."},
    ]


def test_every_option_has_its_name_and_what_was_not_asked_for_is_not_sent() -> None:
    options = Options(
        max_output_tokens=7,
        temperature=0.0,
        top_p=0.5,
        stop=("a",),
        seed=0,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        reasoning_effort="minimal",
        tools=(Tool("f", "Does f.", SCHEMA), Tool("g")),
        output_format=OutputFormat(SCHEMA),
    )
    assert options_of(options, OWN, "level") == {
        "options": {
            "num_ctx": 4096,
            "num_predict": 7,
            "temperature": 0.0,
            "top_p": 0.5,
            "seed": 0,
            "frequency_penalty": 0.5,
            "presence_penalty": 0.5,
            "stop": ["a"],
        },
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA}},
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        ],
        "format": SCHEMA,
        "think": "low",
    }
    assert options_of(Options(max_output_tokens=10**6), OWN, "level") == {"options": OWN}
    assert options_of(Options(output_format=OutputFormat(None)), OWN, "level")["format"] == "json"


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        (None, ["f", "g"]),
        (ToolChoice("required"), ["f", "g"]),
        (ToolChoice("none"), []),
        (ToolChoice("named", "g"), ["g"]),
    ],
)
def test_a_choice_is_made_by_what_is_offered(choice: ToolChoice | None, offered: list[str]) -> None:
    asked = options_of(Options(tools=(Tool("f"), Tool("g")), tool_choice=choice), OWN, "level")
    assert [tool["function"]["name"] for tool in asked.get("tools", [])] == offered


async def test_thoughts_and_calls_are_read_whole_and_streamed() -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"a": 1}}},
        {"id": "call_x", "function": {"name": "g", "arguments": None}},
    ]
    heard: list[Delta] = []
    parts = [line(content="", thinking="H"), line(content="", thinking="m."), line(content="", tool_calls=calls)]
    async with served(OLLAMA, lambda: streamed([*parts, ollama_end()])) as (provider, _):
        answer = await provider.complete(Call(TURNS, heard.append))
    thought, first, second = answer.items
    assert thought == Reasoning("Hm.", "ollama", SEAL)
    assert (first.name, first.arguments) == ("f", '{"a": 1}')
    assert first.id.startswith("call_")
    assert second == ToolCall("call_x", "g", "{}")
    assert answer.finish_reason == FinishReason.TOOL_CALLS
    assert [event for event in heard if event != ReasoningDelta("")] == [
        ReasoningDelta("H"),
        ReasoningDelta("m."),
        ReasoningDelta("", "ollama", SEAL),
        ToolCallDelta(0, "", first.id, "f"),
        ToolCallDelta(0, '{"a": 1}'),
        ToolCallDelta(1, "", "call_x", "g"),
        ToolCallDelta(1, "{}"),
    ]

    message = {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls[1:]}
    whole = {"model": "tiny-1", "message": message, "done": True, "done_reason": "stop"}
    async with served(OLLAMA, lambda: (200, {}, json.dumps(whole).encode())) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert answer.items == (thought, second)


@pytest.mark.parametrize("calls", [[None], [{"function": "f"}], [{"function": {"arguments": {}}}]])
async def test_a_call_of_nothing_is_a_provider_error(calls: Any) -> None:
    async with served(OLLAMA, lambda: streamed([line(content="", tool_calls=calls), ollama_end()])) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, lambda _: None))


async def test_a_model_that_does_not_think_so_is_asked_otherwise_and_remembered() -> None:
    refusals = ['think value "low" is not supported for this model', '"tiny" does not support thinking']

    async def handler(_: dict[str, Any]) -> Answer:
        return problem(400, refusals.pop(0)) if refusals else (200, {}, ollama_end("Hi"))

    async with served_by(OLLAMA, handler) as (provider, server):
        for _ in range(2):
            await provider.complete(Call(TURNS, options=Options(reasoning_effort="low")))
    assert [body.get("think") for _, body in server.requests] == ["low", True, None, None]


async def test_another_refusal_is_one() -> None:
    async with served(OLLAMA, lambda: problem(400, "the input length exceeds the context length")) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, options=Options(reasoning_effort="low")))


async def test_a_stream_is_read_however_the_network_slices_it() -> None:
    calls = [{"id": "call_x", "function": {"name": "g", "arguments": {"a": "é"}}}]
    data = line(content="", thinking="Hm…") + line(content="", tool_calls=calls) + ollama_end()
    async with served(OLLAMA, lambda: streamed(data[at : at + 1] for at in range(len(data)))) as (provider, _):
        answer = await provider.complete(Call(TURNS, lambda _: None))
    assert answer.items == (Reasoning("Hm…", "ollama", SEAL), ToolCall("call_x", "g", '{"a": "é"}'))
