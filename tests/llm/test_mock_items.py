"""The mock provider can do all that a model can, by rules that a test can count on."""

import json
from typing import Any

import jsonschema_rs
import pytest

from app.core.completion import Completion, FinishReason
from app.core.errors import EmptyAnswer
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
from app.llm.examples import example_of
from app.llm.mock import MockProvider

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}
WEATHER, TIME = Tool("get_weather", parameters=SCHEMA), Tool("get_time")
TOOLS = (WEATHER, TIME)
PROMPT = "[mock] No language model is configured, so here is your prompt again"


async def answered(*items: Item, **options: Any) -> tuple[Completion, list[Delta]]:
    heard: list[Delta] = []
    asked = Options(**options)
    answer = await MockProvider().complete(Call(items, heard.append, options=asked))
    assert answer == await MockProvider().complete(Call(items, options=asked))
    return answer, heard


def names(answer: Completion) -> list[str]:
    return [item.name for item in answer.items if isinstance(item, ToolCall)]


@pytest.mark.parametrize(
    ("prompt", "options", "called"),
    [
        ("Hi", {}, []),
        ("Is get_weather a good name?", {}, []),
        ("Call get_weather for Paris.", {}, ["get_weather"]),
        ("Please use get_time and get_weather", {}, ["get_weather", "get_time"]),
        ("Please use get_time and get_weather", {"parallel_tool_calls": False}, ["get_weather"]),
        ("Call get_weather2.", {}, []),
        ("call get_time\nor do not", {}, []),
        ("call get_time", {"tool_choice": ToolChoice("none")}, []),
        ("Hi", {"tool_choice": ToolChoice("required")}, ["get_weather"]),
        ("call get_time", {"tool_choice": ToolChoice("required")}, ["get_time"]),
        ("call get_weather", {"tool_choice": ToolChoice("named", "get_time")}, ["get_time"]),
    ],
)
async def test_a_tool_is_called_when_it_must_be_or_the_prompt_says_so(
    prompt: str, options: dict[str, Any], called: list[str]
) -> None:
    answer, heard = await answered(Message("user", prompt), tools=TOOLS, **options)
    assert names(answer) == called
    assert answer.finish_reason == (FinishReason.TOOL_CALLS if called else FinishReason.STOP)
    assert bool(answer.text) is not bool(called)
    begun = [event for event in heard if isinstance(event, ToolCallDelta) and event.id]
    assert [(event.index, event.name) for event in begun] == list(enumerate(called))


async def test_arguments_fit_their_schema_and_come_in_pieces() -> None:
    answer, heard = await answered(Message("user", "call get_weather"), tools=TOOLS)
    (call,) = answer.items
    assert isinstance(call, ToolCall)
    jsonschema_rs.validate(SCHEMA, json.loads(call.arguments))
    pieces = [event.arguments for event in heard if isinstance(event, ToolCallDelta)]
    assert "".join(pieces) == call.arguments
    assert len(pieces) == 3


async def test_what_tools_said_is_quoted() -> None:
    items: list[Item] = [Message("user", "call get_weather")]
    answer, _ = await answered(*items, tools=TOOLS)
    items += [*answer.items, ToolResult(answer.items[0].id, "22 °C")]  # type: ignore[union-attr]
    answer, _ = await answered(*items, tools=TOOLS)
    assert answer.text == "[mock] No language model is configured, so here is what your tools said: get_weather: 22 °C"


async def test_an_agent_that_must_call_a_tool_comes_to_an_end_and_no_id_comes_twice() -> None:
    items: list[Item] = [Message("user", "Hi")]
    seen: list[str] = []
    for _ in range(10):
        answer, _ = await answered(*items, tools=TOOLS, tool_choice=ToolChoice("required"))
        items += answer.output
        calls = [item for item in answer.items if isinstance(item, ToolCall)]
        if not calls:
            break
        seen += [call.id for call in calls]
        items += [ToolResult(call.id, "ok") for call in calls]
    assert answer.text.endswith("get_weather: ok; get_time: ok")
    assert len(seen) == len(set(seen)) == 2


async def test_images_are_counted() -> None:
    answer, _ = await answered(Message("user", (Text("Look"), Image("image/png", "aGk="), Image("image/png", "aGk="))))
    assert answer.text == f"{PROMPT}, with 2 images: Look"
    assert answer.input_tokens == 1 + 2 * 85


async def test_thoughts_come_first_are_sealed_and_counted() -> None:
    answer, heard = await answered(Message("user", "Hi there"), reasoning_effort="low")
    thought, said = answer.items
    assert isinstance(thought, Reasoning)
    assert thought.text == "[mock] Thinking with low effort about 2 words."
    assert (thought.provider, thought.sealed) == ("mock", {"signature": "mock-2"})
    assert said == Message("assistant", f"{PROMPT}: Hi there")
    assert (answer.text, answer.reasoning_tokens, answer.output_tokens) == (f"{PROMPT}: Hi there", 8, 8 + 14)
    assert "".join(event.text for event in heard if isinstance(event, ReasoningDelta)) == thought.text
    assert heard[8] == ReasoningDelta("", "mock", {"signature": "mock-2"})
    assert "".join(event.text for event in heard if isinstance(event, TextDelta)) == answer.text
    answer, _ = await answered(Message("user", "Hi"), reasoning_effort="none")
    assert answer.items == ()


async def test_a_bound_and_a_stop_end_the_text() -> None:
    answer, heard = await answered(Message("user", "Hi"), max_output_tokens=3)
    assert (answer.text, answer.finish_reason, answer.output_tokens) == ("[mock] No language ", FinishReason.LENGTH, 3)
    assert len(heard) == 3
    answer, _ = await answered(Message("user", "one two three"), stop=("three", "two"))
    assert (answer.text, answer.finish_reason) == (f"{PROMPT}: one ", FinishReason.STOP)
    with pytest.raises(EmptyAnswer):
        await answered(Message("user", "Hi"), max_output_tokens=2, reasoning_effort="low")


SCHEMAS: list[dict[str, Any]] = [
    {"type": "string", "minLength": 9},
    {"type": "string", "maxLength": 2},
    {"type": "string", "format": "uuid"},
    {"type": "integer", "minimum": 3, "multipleOf": 7},
    {"type": "integer", "exclusiveMinimum": 3},
    {"type": "number", "exclusiveMaximum": -1},
    {"type": ["null", "boolean"]},
    {"type": "null"},
    {"const": {"a": [1]}},
    {"enum": [None]},
    {"type": "array", "minItems": 2, "items": {"type": "integer"}},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 3, "items": {"const": 1}},
    {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    {"$defs": {"x~/y": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/x~0~1y"}}, "required": ["a"]},
    {"type": "object", "minProperties": 1, "properties": {"a": {"type": "boolean"}}},
    {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    },
    {"type": "object", "additionalProperties": False},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
async def test_a_wanted_schema_is_filled_in(schema: dict[str, Any]) -> None:
    answer, _ = await answered(Message("user", "Hi"), output_format=OutputFormat(schema))
    jsonschema_rs.validate(schema, json.loads(answer.text))
    assert answer.items == ()


async def test_any_object_will_do_where_there_is_no_schema() -> None:
    answer, _ = await answered(Message("user", "Hi"), output_format=OutputFormat(None))
    assert json.loads(answer.text) == {"mock": "[mock] No language model is configured"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
        {"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}},
        {"type": "string", "minLength": 10**12},
        {"type": "integer", "minimum": 10**400},
        {"$ref": "#/x/y", "properties": 5, "required": "a", "enum": {}, "anyOf": {}, "type": {}},
        {"type": "number", "multipleOf": 5e-324},
        {"type": "object", "required": [{}, 5]},
    ],
    ids=str,
)
def test_no_schema_makes_it_run_on(schema: dict[str, Any]) -> None:
    assert len(json.dumps(example_of(schema))) < 100_000
