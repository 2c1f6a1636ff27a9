"""What a chat completions request says, in our words; and what of it is refused, by its place."""

import base64
import functools
from typing import Any

import pytest

from app.api.v1.chat.parse import ChatRequest, chat_request
from app.api.v1.fields import Fields
from app.core.errors import InvalidRequest
from app.core.items import (
    Image,
    Message,
    Options,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.api.problems import MARKER

HELLO = [{"role": "user", "content": "Hello"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Of a city", "parameters": {"type": "object"}, "strict": True},
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
FOREIGN = {"name": "x", "schema": {"$ref": f"https://example.com/{MARKER}"}}
DEEP = {"name": "f", "parameters": functools.reduce(lambda inner, _: {"properties": inner}, range(100), {})}
TOOLS = (Tool("get_weather", "Of a city", {"type": "object"}, True), Tool("get_time"))


def parsed(**body: Any) -> ChatRequest:
    return chat_request(Fields({"model": "mock-echo", "messages": HELLO, **body}))


def refused(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        parsed(**body)
    assert MARKER not in error.value.detail
    return error.value


# --- what is said


def test_every_role_is_an_item() -> None:
    asked = parsed(
        messages=[
            {"role": "developer", "content": "Be brief.", "name": "ops"},
            {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Hm.",
                "refusal": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"a": 1}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "get_time", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Sun"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "Noon"}]},
            {"role": "assistant", "content": "Sunny."},
            {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]},
        ]
    )
    assert asked.items == (
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "Weather?"),
        Reasoning("Hm."),
        ToolCall("call_1", "get_weather", '{"a": 1}'),
        ToolCall("call_2", "get_time", ""),
        ToolResult("call_1", "Sun"),
        ToolResult("call_2", "Noon"),
        Message("assistant", "Sunny."),
        Message("user", (Text("And "), Text("now?"))),
    )
    assert asked.content == "And now?"


def test_a_picture_is_a_part() -> None:
    parts: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}},
    ]
    asked = parsed(messages=[{"role": "user", "content": parts}])
    place = "messages[0].content[1].image_url.url"
    assert asked.items == (
        Message("user", (Text("What is this?"), Image(f"at {place}", parts[1]["image_url"]["url"]))),
    )
    assert asked.content == "What is this?"


def test_functions_of_before_there_were_tools_are_tools() -> None:
    asked = parsed(
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "get_time", "arguments": "{}"}},
            {"role": "function", "name": "get_time", "content": "Noon"},
        ],
        functions=[{"name": "get_time"}],
        function_call={"name": "get_time"},
    )
    assert asked.items[1:] == (ToolCall("call_get_time", "get_time", "{}"), ToolResult("call_get_time", "Noon"))
    assert asked.options == Options(tools=(Tool("get_time"),), tool_choice=ToolChoice("named", "get_time"))
    assert asked.functions


# --- what is asked for


def test_the_most_effort_that_clients_name_is_the_most_there_is() -> None:
    assert parsed(reasoning_effort="max").options.reasoning_effort == "xhigh"


def test_options_are_ours() -> None:
    asked = parsed(
        max_completion_tokens=20,
        max_tokens=30,
        temperature=0,
        top_p=0.5,
        stop=["a", "b"],
        seed=7,
        frequency_penalty=-1,
        presence_penalty=2,
        reasoning_effort="low",
        tools=[WEATHER, CLOCK],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    )
    assert asked.options == Options(
        max_output_tokens=20,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=7,
        frequency_penalty=-1.0,
        presence_penalty=2.0,
        reasoning_effort="low",
        tools=TOOLS,
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        output_format=OutputFormat({"type": "object"}, "x"),
    )


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({}, Options()),
        ({"max_tokens": 30}, Options(max_output_tokens=30)),
        ({"stop": "a"}, Options(stop=("a",))),
        ({"response_format": {"type": "text"}}, Options()),
        ({"response_format": {"type": "json_object"}}, Options(output_format=OutputFormat(None))),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, Options()),
        ({"tools": [CLOCK], "tool_choice": "none"}, Options(tools=TOOLS[1:], tool_choice=ToolChoice("none"))),
        (
            {"tools": [WEATHER, CLOCK], "tool_choice": {"type": "function", "function": {"name": "get_time"}}},
            Options(tools=TOOLS, tool_choice=ToolChoice("named", "get_time")),
        ),
        (
            {
                "tools": [WEATHER, CLOCK],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CLOCK]}},
            },
            Options(tools=TOOLS[1:], tool_choice=ToolChoice("required")),
        ),
        (dict.fromkeys(("n", "stop", "tools", "tool_choice", "response_format", "seed", "stream_options")), Options()),
        ({"logprobs": True, "logit_bias": {"1": 2}, "user": "x", "n": 1, "whatever": [1]}, Options()),
    ],
)
def test_what_is_left_out_is_the_providers_to_choose(body: dict[str, Any], options: Options) -> None:
    assert parsed(**body).options == options


def test_how_the_answer_comes_and_what_is_kept() -> None:
    plain = parsed()
    assert (plain.streams, plain.with_usage, plain.stored, plain.metadata) == (False, False, False, None)
    asked = parsed(stream=True, stream_options={"include_usage": True}, store=True, metadata={"of": "x"})
    assert (asked.streams, asked.with_usage, asked.stored, asked.metadata) == (True, True, True, {"of": "x"})
    assert not parsed(stream_options={"include_usage": True}).with_usage


# --- what is refused


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        (None, "messages"),
        ([], "messages"),
        ({}, "messages"),
        ([MARKER], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": MARKER, "content": "x"}], "messages[0].role"),
        ([*HELLO, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": MARKER}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "system", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        ([{"role": "assistant"}], "messages[0].content"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages[0].tool_calls[0].function"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "a"}}]}], "messages[0].tool_calls[0].id"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
    ],
)
def test_a_message_that_is_wrong_is_named(messages: Any, place: str) -> None:
    assert refused(messages=messages).param == place


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"n": 2}, "n"),
        ({"n": 10**9}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"model": "a\u0007b"}, "model"),
        ({"model": "a\u009bb"}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": 5}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": 1}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"reasoning_effort": MARKER}, "reasoning_effort"),
        ({"audio": {}}, "audio"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"store": 1}, "store"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name"),
        ({"tools": [CLOCK] * 513}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": MARKER}, "tool_choice"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice.function.name",
        ),
        ({"response_format": {"type": MARKER}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": FOREIGN}}, "response_format.json_schema.schema"),
        ({"tools": [{"type": "function", "function": DEEP}]}, "tools[0].function.parameters"),
    ],
)
def test_an_option_that_is_wrong_is_named(body: dict[str, Any], place: str) -> None:
    assert refused(**body).param == place
