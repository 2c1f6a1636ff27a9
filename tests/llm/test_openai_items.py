"""Items, options and tool calls on the wire of chat completions."""

import json
from typing import Any

import pytest

from app.core.completion import FinishReason
from app.core.errors import EmptyAnswer, ProviderError
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
from app.llm.openai.request import messages_of, options_of
from tests.llm.loopback import Answer, completion, problem
from tests.llm.wire import OPENAI, OPENAI_USAGE, TURNS, openai_chunk, served, served_by, sse, streamed

PIXEL = Image("image/png", "aGk=")
PIXEL_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
CALLS = (ToolCall("call_1", "f", '{"a": 1}'), ToolCall("call_2", "g", "{}"))
SENT_CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def piece(index: int | None = 0, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> bytes:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call = {"index": index, "id": call_id, "type": "function", "function": function}
    return sse(openai_chunk({"tool_calls": [{key: value for key, value in call.items() if value is not None}]}))


def end(reason: str = "tool_calls") -> bytes:
    return sse(openai_chunk({}, reason), openai_chunk({}, choices=[], usage=OPENAI_USAGE)) + b"data: [DONE]\n\n"


async def answered(*parts: bytes) -> tuple[Any, list[Delta]]:
    heard: list[Delta] = []
    async with served(OPENAI, lambda: streamed(parts)) as (provider, _):
        return await provider.complete(Call(TURNS, heard.append)), heard


def test_parts_are_sent_only_where_a_string_would_not_do() -> None:
    texts = Message("user", (Text("What is "), Text("this?")))
    shown = Message("user", (Text("What is this?"), PIXEL))
    assert messages_of([texts], "openai") == [{"role": "user", "content": "What is this?"}]
    assert messages_of([shown], "openai") == [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, PIXEL_PART]}
    ]


def test_the_calls_of_an_answer_are_one_message_with_its_text_and_their_results_follow() -> None:
    results = (ToolResult("call_1", "one"), ToolResult("call_2", (Text("two"), PIXEL)))
    for said in (
        (Message("assistant", "Let me see."), *CALLS),
        (*CALLS, Message("assistant", "Let me see.")),
    ):
        items = [Message("user", "Hi"), *said, *results, Message("user", "And?")]
        assert messages_of(items, "openai") == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": SENT_CALLS},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": "two"},
            {"role": "user", "content": [PIXEL_PART]},
            {"role": "user", "content": "And?"},
        ]


def test_calls_without_a_text_are_sent_without_one() -> None:
    assert messages_of(CALLS, "openai") == [{"role": "assistant", "tool_calls": SENT_CALLS}]


@pytest.mark.parametrize(("maker", "given_back"), [("openai:a", True), ("openai:b", False), ("openai", False)])
def test_thoughts_of_this_turn_go_back_to_who_had_them(maker: str, given_back: bool) -> None:
    def thought(text: str) -> Reasoning:
        return Reasoning(text, "openai:a", {"field": "reasoning_content"})

    items: list[Item] = [Message("user", "Hi"), thought("earlier"), Message("assistant", "Hello")]
    items += [Message("user", "And?"), thought("now"), CALLS[0], ToolResult("call_1", "one")]
    sent = messages_of(items, maker)
    assert "reasoning_content" not in sent[1]
    assert sent[3].get("reasoning_content") == ("now" if given_back else None)


def test_what_was_not_asked_for_is_not_sent() -> None:
    assert options_of(Options()) == {}
    assert options_of(Options(tool_choice=ToolChoice("required"), parallel_tool_calls=False)) == {}


def test_every_option_has_its_name() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    options = Options(
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        frequency_penalty=-1.0,
        presence_penalty=1.0,
        reasoning_effort="low",
        tools=(Tool("f", "Does f.", schema, True), Tool("g")),
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
        output_format=OutputFormat(schema, "thing", "A thing.", True),
    )
    assert options_of(options) == {
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 0,
        "frequency_penalty": -1.0,
        "presence_penalty": 1.0,
        "reasoning_effort": "low",
        "stop": ["a", "b"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "Does f.", "parameters": schema, "strict": True},
            },
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "thing", "description": "A thing.", "schema": schema, "strict": True},
        },
    }
    assert options_of(Options(output_format=OutputFormat(None))) == {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(("asked", "sent"), [(None, 100), (7, 7), (100_000, 100)])
async def test_an_answer_is_bounded_by_the_calls_bound_and_by_ours(asked: int | None, sent: int) -> None:
    async with served(OPENAI, lambda: completion("Hi")) as (provider, server):
        await provider.complete(Call(TURNS, options=Options(max_output_tokens=asked)))
    assert server.requests[0][1]["max_tokens"] == sent
    assert None not in server.requests[0][1].values()


@pytest.mark.parametrize(
    ("words", "dropped"),
    [
        ("Unsupported value: 'temperature' does not support 0.2 with this model.", {"temperature"}),
        ('{"detail": [{"type": "extra_forbidden", "loc": ["body", "reasoning_effort"]}]}', {"reasoning_effort"}),
        ("Unrecognized request arguments: seed, temperature", {"temperature", "seed"}),
        ("temperature must be at most 2", None),
        ("Unsupported parameter: 'messages'", None),
    ],
)
async def test_a_hint_that_a_server_does_not_know_is_left_out_of_this_request(
    words: str, dropped: set[str] | None
) -> None:
    answers = [problem(400, words), completion("Hi"), problem(400, words), completion("Hi")]

    async def handler(_: dict[str, Any]) -> Answer:
        return answers.pop(0)

    call = Call(TURNS, options=Options(temperature=0.2, seed=1, reasoning_effort="low"))
    async with served_by(OPENAI, handler) as (provider, server):
        if dropped is None:
            with pytest.raises(ProviderError):
                await provider.complete(call)
            return
        await provider.complete(call)
        # Another request is asked as it is: what was refused may be its caller's own mistake.
        await provider.complete(call)
    first, second, third, _ = (body for _, body in server.requests)
    assert set(first) - set(second) == dropped
    assert first == third


async def test_an_answer_of_calls_alone_is_an_answer_whole_and_streamed() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": SENT_CALLS}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    async with served(OPENAI, lambda: completion("", choices=[choice])) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert (answer.text, answer.items, answer.finish_reason) == ("", CALLS, FinishReason.TOOL_CALLS)

    parts = [piece(0, "call_1", "f", ""), *(piece(0, arguments=part) for part in ('{"a"', ": 1}"))]
    answer, heard = await answered(*parts, piece(1, "call_2", "g", "{}"), end("stop"))
    assert (answer.text, answer.items, answer.finish_reason) == ("", CALLS, FinishReason.TOOL_CALLS)
    assert answer.output_tokens == 5
    assert [event for event in heard if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "", "call_1", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, "", "call_2", "g"),
        ToolCallDelta(1, "{}"),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("stop", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("of_tomorrow", FinishReason.TOOL_CALLS),
        ("length", FinishReason.LENGTH),
    ],
)
async def test_calls_end_an_answer_as_calls_whatever_it_says_unless_it_was_cut(word: str, reason: FinishReason) -> None:
    answer, _ = await answered(piece(0, "call_1", "f", '{"a'), end(word))
    assert answer.finish_reason == reason


async def test_a_text_that_ends_as_calls_without_one_has_ended() -> None:
    answer, _ = await answered(sse(openai_chunk({"content": "Hi"})), end("tool_calls"))
    assert (answer.text, answer.finish_reason, answer.items) == ("Hi", FinishReason.STOP, ())


STREAMS = {
    "vllm: the name and a new id in each piece": [
        piece(0, "call_1", "f", ""),
        piece(0, "x1", "f", '{"a"'),
        piece(0, "x2", "f", ": 1}"),
        piece(1, "call_2", "g", "{}"),
    ],
    "gemini: the index 0 for each": [piece(0, "call_1", "f", '{"a": 1}'), piece(0, "call_2", "g", "{}")],
    "no index": [
        piece(None, "call_1", "f", ""),
        piece(None, arguments='{"a"'),
        piece(None, "call_1", arguments=": 1}"),
        piece(None, "call_2", "g", "{}"),
    ],
    "indexes from 1, with a hole": [
        piece(1, "call_1", "f", '{"a"'),
        piece(1, arguments=": 1}"),
        piece(7, "call_2", "g", "{}"),
    ],
    "mixed": [
        piece(0, "call_1", "f", ""),
        piece(1, "call_2", "g", ""),
        piece(0, arguments='{"a"'),
        piece(1, arguments="{"),
        piece(0, arguments=": 1}"),
        piece(1, arguments="}"),
    ],
    "an object for arguments": [piece(0, "call_1", "f", {"a": 1}), piece(1, "call_2", "g", {})],
    "no arguments at all": [piece(0, "call_1", "f", '{"a": 1}'), piece(1, "call_2", "g")],
    "two in one chunk": [
        sse(openai_chunk({"tool_calls": [{"index": at, **call} for at, call in enumerate(SENT_CALLS)]}))
    ],
    "the name after the id": [
        piece(0, "call_1"),
        piece(0, name="f", arguments='{"a": 1}'),
        piece(1, "call_2", "g", "{}"),
    ],
}


@pytest.mark.parametrize("name", STREAMS)
async def test_calls_are_read_as_servers_send_them(name: str) -> None:
    answer, heard = await answered(*STREAMS[name], end())
    assert answer.items == CALLS
    pieces = [event for event in heard if isinstance(event, ToolCallDelta)]
    assert [(event.index, event.id, event.name) for event in pieces if event.id] == [
        (0, "call_1", "f"),
        (1, "call_2", "g"),
    ]
    assert [event.index for event in pieces] == sorted(event.index for event in pieces)
    for index, call in enumerate(CALLS):
        assert "".join(event.arguments for event in pieces if event.index == index) == call.arguments


async def test_an_id_that_is_missing_is_made_and_the_first_name_for_calls_is_understood() -> None:
    answer, _ = await answered(piece(0, None, "f", "{}"), end())
    assert answer.items[0].id.startswith("call_")
    old = [sse(openai_chunk({"function_call": part})) for part in ({"name": "f", "arguments": "{"}, {"arguments": "}"})]
    answer, _ = await answered(*old, end("function_call"))
    assert [(call.name, call.arguments) for call in answer.items] == [("f", "{}")]


@pytest.mark.parametrize(
    "odd",
    [
        {"tool_calls": None},
        {"tool_calls": {}},
        {"tool_calls": [None, 5]},
        {"function_call": "f"},
    ],
)
async def test_what_is_no_call_is_passed_over(odd: dict[str, Any]) -> None:
    answer, _ = await answered(sse(openai_chunk(odd)), *OPENAI.chunks(["Hi"]))
    assert (answer.text, answer.items) == ("Hi", ())


@pytest.mark.parametrize(
    "parts",
    [
        [piece(at, f"call_{at}", "f", "{}") for at in range(1000)],
        [piece(0, "call_1", "f", ""), *[piece(0, arguments="x" * 2**18)] * 5],
        [piece(0, "call_1", "f", "{}"), piece(1, "call_2", "g", "{"), piece(0, arguments='"late": 1')],
        [piece(0, "call_1", None, "{}")],
    ],
    ids=["too many", "too long", "after its end", "of nothing"],
)
async def test_calls_that_cannot_be_are_a_provider_error(parts: list[bytes]) -> None:
    with pytest.raises(ProviderError) as caught:
        await answered(*parts, end())
    assert type(caught.value) is ProviderError


async def test_a_stream_of_calls_is_read_however_the_network_slices_it() -> None:
    data = b"".join([*STREAMS["mixed"], sse(openai_chunk({"reasoning": "Hm…"})), end()])
    for at in range(0, len(data), 7):
        answer, _ = await answered(data[:at], data[at:]) if at else await answered(data)
        assert answer.items[:2] == CALLS
    answer, _ = await answered(*(data[at : at + 1] for at in range(len(data))))
    assert answer.items[:2] == CALLS


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thoughts_are_handed_on_and_kept_apart_from_the_text(field: str) -> None:
    chunks = [sse(openai_chunk({field: part})) for part in ("H", "m.")]
    answer, heard = await answered(*chunks, *OPENAI.chunks(["Hi"]))
    assert answer.text == "Hi"
    (thought, said) = answer.items
    assert (thought.text, thought.sealed, said) == ("Hm.", {"field": field}, Message("assistant", "Hi"))
    assert thought.provider == "openai:127.0.0.1"
    assert heard[:3] == [
        ReasoningDelta("H"),
        ReasoningDelta("m."),
        ReasoningDelta("", "openai:127.0.0.1", {"field": field}),
    ]

    message = {"role": "assistant", "content": "Hi", field: "Hm.", "reasoning": "Hm."}
    whole = completion("", choices=[{"index": 0, "finish_reason": "stop", "message": message}])
    async with served(OPENAI, lambda: whole) as (provider, _):
        assert (await provider.complete(Call(TURNS))).items == answer.items


async def test_thoughts_alone_are_an_empty_answer_that_has_them() -> None:
    with pytest.raises(EmptyAnswer) as caught:
        await answered(sse(openai_chunk({"reasoning": "Hm."})), end("length"))
    assert caught.value.answer is not None
    assert [item.text for item in caught.value.answer.items if isinstance(item, Reasoning)] == ["Hm."]


async def test_a_refusal_in_words_is_the_text() -> None:
    refused = [sse(openai_chunk({"refusal": part})) for part in ("I can", "not.")]
    answer, _ = await answered(sse(openai_chunk({"refusal": None})), *refused, end("stop"))
    assert (answer.text, answer.finish_reason) == ("I cannot.", FinishReason.STOP)


async def test_the_tokens_of_thoughts_are_among_those_of_the_answer() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}}
    async with served(OPENAI, lambda: completion("Hi", usage=usage)) as (provider, _):
        answer = await provider.complete(Call(TURNS))
    assert (answer.output_tokens, answer.reasoning_tokens) == (50, 40)
    usage["completion_tokens_details"] = {"reasoning_tokens": 400}
    async with served(OPENAI, lambda: completion("Hi", usage=usage)) as (provider, _):
        assert (await provider.complete(Call(TURNS))).reasoning_tokens == 50


def test_arguments_that_are_no_json_are_kept_as_they_are() -> None:
    assert json.loads(json.dumps(messages_of([ToolCall("c", "f", "{oops")], "openai")))[0]["tool_calls"][0][
        "function"
    ] == {"name": "f", "arguments": "{oops"}


@pytest.mark.parametrize("name", ["role", "content", "tool_calls"])
def test_a_seal_that_a_client_wrote_fills_no_other_field(name: str) -> None:
    said = [Message("user", "Hi"), Reasoning("Z", "openai", {"field": name}), ToolCall("1", "f", "{}")]
    function = {"name": "f", "arguments": "{}"}
    call = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    assert messages_of(said, "openai") == [{"role": "user", "content": "Hi"}, call]
