"""An answer's pieces become its items, in one order for both."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.items import (
    Delta,
    Item,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from app.llm.failures import AnswerTooLarge
from app.llm.output import MAX_ARGUMENTS, MAX_CALLS, MAX_ITEMS, Output


def put_together(events: list[Delta]) -> list[Item]:
    """What a client makes of the pieces; it takes them in the order in which they come."""
    items: list[Item] = []
    calls: dict[int, int] = {}
    closed = True
    for event in events:
        match event, items[-1] if items else None:
            case ReasoningDelta("", provider, sealed), Reasoning(text):
                items[-1], closed = Reasoning(text, provider, sealed), True
                continue
            case ReasoningDelta("", provider, sealed), _:
                items.append(Reasoning("", provider, sealed))
            case ReasoningDelta(piece), Reasoning(text, provider, sealed) if not closed:
                items[-1] = Reasoning(text + piece, provider, sealed)
            case ReasoningDelta(piece), _:
                items.append(Reasoning(piece))
            case TextDelta(piece), Message(role, text):
                items[-1] = Message(role, f"{text}{piece}")
            case TextDelta(piece), _:
                items.append(Message("assistant", piece))
            case ToolCallDelta(index, arguments, call_id, name), _ if index not in calls:
                assert index == len(calls)
                assert call_id
                assert name
                calls[index] = len(items)
                items.append(ToolCall(call_id, name, arguments))
            case ToolCallDelta(index, arguments, "", ""), ToolCall(call_id, name, before):
                assert calls[index] == len(items) - 1, "a piece of a call that has ended"
                items[-1] = ToolCall(call_id, name, before + arguments)
            case _:
                raise AssertionError(event)
        closed = False
    return items


def without_unsealed_makers(items: tuple[Item, ...]) -> list[Item]:
    return [Reasoning(item.text) if isinstance(item, Reasoning) and not item.sealed else item for item in items]


def test_a_text_alone_is_no_list_of_items() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    output.say("Hel")
    output.say("")
    output.say("lo")
    assert output.end() == ()
    assert output.text == "Hello"
    assert heard == [TextDelta("Hel"), TextDelta("lo")]


def test_a_calls_first_piece_alone_has_its_id_and_name() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    call = output.begin_call("call_1", "f")
    output.argue(call, '{"a"')
    output.argue(call, ": 1}", "another")
    assert output.end() == (ToolCall("call_1", "f", '{"a": 1}'),)
    assert heard == [ToolCallDelta(0, "", "call_1", "f"), ToolCallDelta(0, '{"a"'), ToolCallDelta(0, ": 1}")]


def test_a_call_is_handed_on_once_its_name_is_known() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    call = output.begin_call("call_1")
    output.argue(call, "{")
    assert heard == []
    output.argue(call, "}", "f")
    assert heard == [ToolCallDelta(0, "{}", "call_1", "f")]


def test_a_call_without_a_name_is_no_call() -> None:
    output = Output(None, "openai")
    output.argue(output.begin_call("call_1"), "{}")
    with pytest.raises(ValueError, match="nothing"):
        output.end()


def test_a_call_without_arguments_has_an_empty_object_unless_it_was_cut() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    output.begin_call("call_1", "f")
    assert output.end() == (ToolCall("call_1", "f", "{}"),)
    assert put_together(heard) == [ToolCall("call_1", "f", "{}")]
    output = Output(None, "openai")
    output.begin_call("call_1", "f")
    assert output.end(cut=True) == (ToolCall("call_1", "f", ""),)


@pytest.mark.parametrize("said", [None, "", 7, "x" * 1000, "call_1"])
def test_an_id_that_is_none_or_taken_is_made(said: Any) -> None:
    output = Output(None, "openai")
    output.begin_call("call_1", "f")
    output.begin_call(said, "f")
    first, second = (item for item in output.end() if isinstance(item, ToolCall))
    assert first.id == "call_1"
    assert second.id.startswith("call_")
    assert second.id != "call_1"


def test_calls_whose_pieces_come_mixed_are_handed_on_one_after_the_other() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    calls = [output.begin_call(f"call_{number}", f"f{number}") for number in range(3)]
    for piece in ('{"a"', ": ", "1", "}"):
        for call in reversed(calls):
            output.argue(call, piece)
        output.say("!")
    assert [event for event in heard if isinstance(event, TextDelta)] == []
    items = output.end()
    assert items == (
        *(ToolCall(f"call_{number}", f"f{number}", '{"a": 1}') for number in range(3)),
        Message("assistant", "!!!!"),
    )
    assert put_together(heard) == list(items)


def test_a_whole_call_makes_way_for_the_next_at_once() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "openai")
    output.argue(output.begin_call("call_1", "f"), "{}")
    output.argue(output.begin_call("call_2", "g"), '{"half')
    assert heard[-2:] == [ToolCallDelta(1, "", "call_2", "g"), ToolCallDelta(1, '{"half')]


def test_arguments_after_their_end_are_refused_and_blanks_are_not() -> None:
    output = Output(None, "openai")
    first = output.begin_call("call_1", "f")
    output.argue(first, "{}")
    output.begin_call("call_2", "g")
    output.argue(first, " \n")
    with pytest.raises(ValueError, match="after their end"):
        output.argue(first, ', "more": 1}')


def test_what_never_ends_is_bounded() -> None:
    output = Output(None, "openai")
    for _ in range(MAX_CALLS):
        output.begin_call(None, "f")
    with pytest.raises(AnswerTooLarge):
        output.begin_call(None, "f")

    output = Output(None, "openai")
    call = output.begin_call(None, "f")
    output.argue(call, "x" * MAX_ARGUMENTS)
    with pytest.raises(AnswerTooLarge):
        output.argue(call, "x")

    output = Output(None, "openai")
    for _ in range(MAX_ITEMS // 2):
        output.say("a")
        output.think("b")
    with pytest.raises(AnswerTooLarge):
        output.say("a")


def test_a_seal_closes_its_thought() -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "anthropic")
    output.begin_thought()
    output.think("Hm.")
    output.begin_thought().sealed = {"data": "redacted"}
    output.think("Ah.", {"signature": "x"})
    output.say("Hi")
    items = output.end()
    assert items == (
        Reasoning("Hm.", "anthropic"),
        Reasoning("Ah.", "anthropic", {"data": "redacted"}),
        Message("assistant", "Hi"),
    )
    assert heard[-2:] == [ReasoningDelta("", "anthropic", {"data": "redacted"}), TextDelta("Hi")]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(["a", "b ", ""])),
        st.tuples(st.just("think"), st.sampled_from(["hm", "oh ", ""])),
        st.tuples(st.just("begin"), st.sampled_from(["f", "g"])),
        st.tuples(st.just("argue"), st.integers(0, 4)),
        st.tuples(st.just("close"), st.integers(0, 4)),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_however_the_pieces_come_those_handed_on_are_the_items(steps: list[tuple[str, Any]], sealing: bool) -> None:
    heard: list[Delta] = []
    output = Output(heard.append, "p")
    began: list[Any] = []
    opened: set[int] = set()
    for step, value in steps:
        if step == "say":
            output.say(value)
        elif step == "think":
            output.think(value, {"field": "x"} if sealing else None)
        elif step == "begin":
            began.append(output.begin_call(None, value))
        elif value < len(began) and value not in opened:
            output.argue(began[value], '{"a": ' if step == "argue" and not began[value].pieces else "")
            if step == "close":
                output.argue(began[value], "1}" if began[value].pieces else "{}")
                opened.add(value)
    for number, call in enumerate(began):
        if call.pieces and number not in opened:
            output.argue(call, "1}")
    items = output.end()
    made = put_together(heard)
    assert made == (without_unsealed_makers(items) or ([Message("assistant", output.text)] if output.text else []))
    assert all(json.loads(item.arguments) in ({}, {"a": 1}) for item in items if isinstance(item, ToolCall))
