"""What clients send, in our words, and what is refused of it."""

import base64
from typing import Any

import pytest

from app.api.v1.responses.reading import Reference
from app.api.v1.responses.writing import asked_of, output_of
from app.api.v1.sealing import sealed, unsealed
from app.core.errors import InvalidRequest
from app.core.ids import new_id
from app.core.items import (
    Image,
    Item,
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
from tests.api.v1.responses.requests import PNG, asked, shown_of

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
SEARCH = {"type": "web_search", "search_context_size": "low"}
GROUP = {"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "read"}]}
FORMAT = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
IMAGE = "input[0].content[0].image_url"
SVG = "data:image/svg+xml;base64,PHN2Zz4="
LARGE = f"data:image/png;base64,{PNG[:-1]}A{'A' * 2000}"
LOOPBACK = "https://127.0.0.1/picture.png"
SEALED = Reasoning("Look it up.", "anthropic", {"signature": "bytes"})


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"role": "user", "content": "Hi"}, Message("user", "Hi")),
        ({"type": "message", "role": "developer", "content": "Be brief"}, Message("system", "Be brief")),
        ({"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, Message("user", "Hi")),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "A"}, {"type": "input_text", "text": "B"}]},
            Message("user", (Text("A"), Text("B"))),
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]},
            Message("user", (Image("image/png", PNG),)),
        ),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}], "id": "msg_1"},
            Message("assistant", "Hi"),
        ),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, Message("assistant", "No.")),
        (
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}", "id": "fc_1"},
            ToolCall("c", "weather", "{}"),
        ),
        ({"type": "function_call_output", "call_id": "c", "output": "Rain"}, ToolResult("c", "Rain")),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "Rain"}]},
            ToolResult("c", "Rain"),
        ),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}, Reasoning("Hm")),
        ({"type": "reasoning", "summary": [], "encrypted_content": sealed(SEALED)}, SEALED),
    ],
)
def test_an_item_is_read(sent: dict[str, Any], meant: Item) -> None:
    assert asked(input=[sent]).items == [meant]


def test_an_item_is_read_as_it_was_written() -> None:
    items: tuple[Item, ...] = (
        Message("user", (Text("What is this?"), Image("image/png", PNG))),
        SEALED,
        Reasoning("It rains."),
        Message("assistant", "A picture."),
        ToolCall("c", "weather", "{}"),
        ToolResult("c", (Text("Rain"), Image("image/png", PNG))),
    )
    assert asked(input=asked_of(dict(enumerate(items)), new_id())).items == list(items)
    assert asked(input=output_of(items, new_id(), with_seal=True)).items == list(items)


def test_an_item_may_be_named() -> None:
    message_id = new_id()
    [reference] = asked(input=[{"type": "item_reference", "id": f"msg_{message_id}_3"}]).items
    assert isinstance(reference, Reference)
    assert (reference.id.message_id, reference.id.index, reference.id.asked) == (message_id, 3, False)
    assert reference.at == "input[0].id"


def test_tools_that_only_another_service_runs_are_passed_over() -> None:
    request = asked(tools=[WEATHER, SEARCH, GROUP], tool_choice="auto", parallel_tool_calls=False)
    assert request.options == Options(tools=(Tool("weather", "", {"type": "object"}, True),), parallel_tool_calls=False)
    assert [tool["name"] for tool in shown_of(request)["tools"]] == ["weather"]


def test_a_choice_of_tools() -> None:
    now = {"type": "function", "name": "now"}
    assert asked(tools=[WEATHER], tool_choice="required").options.tool_choice == ToolChoice("required")
    assert asked(tools=[WEATHER, now], tool_choice=now).options.tool_choice == ToolChoice("named", "now")
    some = {"type": "allowed_tools", "mode": "required", "tools": [now]}
    options = asked(tools=[WEATHER, now], tool_choice=some).options
    assert (options.tools, options.tool_choice) == ((Tool("now"),), ToolChoice("required"))


def test_what_a_request_may_wish() -> None:
    request = asked(
        instructions="Be brief",
        max_output_tokens=50,
        temperature=0,
        top_p=0.5,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": FORMAT, "verbosity": "low"},
        metadata={"for": "a test"},
        include=["reasoning.encrypted_content"],
    )
    assert request.options == Options(
        max_output_tokens=50,
        temperature=0,
        top_p=0.5,
        reasoning_effort="low",
        output_format=OutputFormat({"type": "object"}, "city", "", True),
    )
    assert (request.instructions, request.metadata, request.stored) == ("Be brief", {"for": "a test"}, True)
    assert request.with_seal
    assert shown_of(request)["text"] == {"format": FORMAT | {"description": None}, "verbosity": "low"}
    assert shown_of(request)["reasoning"] == {"effort": "low", "summary": "auto"}


def test_the_most_effort_that_clients_name_is_the_most_there_is() -> None:
    request = asked(reasoning={"effort": "max"})
    assert request.options.reasoning_effort == "xhigh"
    assert shown_of(request)["reasoning"]["effort"] == "xhigh"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": SVG}]}]}, IMAGE),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": LARGE}]}]}, IMAGE),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": LOOPBACK}]}]}, IMAGE),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"type": "reasoning", "encrypted_content": "gAAAAA"}]}, "input[0].encrypted_content"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [SEARCH], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [SEARCH], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "mode": "required"}}, "tool_choice.mode"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": {**FORMAT, "schema": {"$ref": "x"}}}}, "text.format.schema"),
        ({"tools": [{**WEATHER, "parameters": {"enum": [0] * 9000}}]}, "tools[0].parameters"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"metadata": {"for": 1}}, "metadata"),
        ({"metadata": {"x" * 65: "y"}}, "metadata"),
        ({"metadata": dict.fromkeys(map(str, range(17)), "y")}, "metadata"),
        ({"previous_response_id": "resp_1", "conversation": f"conv_{new_id()}"}, "previous_response_id"),
        ({"store": False, "background": True}, "background"),
        ({"store": False, "previous_response_id": f"resp_{new_id()}"}, "previous_response_id"),
        ({"store": False, "conversation": {"id": f"conv_{new_id()}"}}, "conversation"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_place(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**body)
    assert refused.value.param == param


DEEP = f'{{"provider": "anthropic", "text": "", "sealed": {{"a": {"[" * 900}{"]" * 900}}}}}'


def test_what_was_made_up_holds_nothing_that_cannot_be_stored() -> None:
    made_up = base64.b64encode(b'{"provider": "anthropic", "text": "\\ud800", "sealed": {"a": "\\u0000"}}').decode()
    read = unsealed(made_up)
    assert read is not None
    assert read.text.isprintable()
    assert read.text.encode()
    assert "\0" not in str(read.sealed)


@pytest.mark.parametrize(
    "value", ["", "x", "e30=", "W10=", "eyJ0ZXh0IjoxfQ==", "bnVsbA==", base64.b64encode(DEEP.encode()).decode()]
)
def test_nothing_is_unsealed_that_was_not_sealed_here(value: str) -> None:
    assert unsealed(value) is None
