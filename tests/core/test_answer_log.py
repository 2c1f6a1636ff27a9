"""What was said, counted in characters: the same from memory, from stored pieces and from the items of the end."""

import random
from itertools import groupby

import pytest

from app.core.errors import OutputMalformed
from app.core.item_json import items_from_json, items_to_json, options_from_json, options_to_json
from app.core.items import (
    NO_OPTIONS,
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
from app.messages import log as logs
from app.messages.log import Log

SAID: list[Delta] = [
    ReasoningDelta("Let me \U0001f600 "),
    ReasoningDelta("see."),
    ReasoningDelta("", "anthropic", {"signature": "c2ln\x00", "data": ["\ud800", 1]}),
    ReasoningDelta("", "anthropic", {"data": "redacted"}),
    TextDelta("It is \ud83d"),
    TextDelta("\ude00 and \x00"),
    ToolCallDelta(4, "", "call_a", "weather"),
    ToolCallDelta(4, '{"city": '),
    ToolCallDelta(4, '"Köln"}'),
    ToolCallDelta(1, "no JSON", "call_b", "time"),
    ToolCallDelta(7, "", "call_c", "nothing"),
    TextDelta("So."),
    ReasoningDelta("Hm"),
    TextDelta("cut \ud83d"),
]
ITEMS = (
    Reasoning("Let me \U0001f600 see.", "anthropic", {"signature": "c2ln\ufffd", "data": ["\ufffd", 1]}),
    Reasoning("", "anthropic", {"data": "redacted"}),
    Message("assistant", "It is \U0001f600 and \ufffd"),
    ToolCall("call_a", "weather", '{"city": "Köln"}'),
    ToolCall("call_b", "time", "no JSON"),
    ToolCall("call_c", "nothing", ""),
    Message("assistant", "So."),
    Reasoning("Hm"),
    Message("assistant", "cut \ufffd"),
)


def taken(events: list[Delta]) -> Log:
    log = Log()
    for event in events:
        log.take(event)
    log.finish()
    return log


def told(log: Log, offset: int = 0) -> list[Delta]:
    return [piece.event for piece in log.since(offset)]


def test_events_become_items_and_items_the_same_events() -> None:
    log = taken(SAID)
    assert log.items() == ITEMS
    assert log.text == "It is \U0001f600 and \ufffdSo.cut \ufffd"
    assert not log.plain
    assert taken([TextDelta("words")]).plain
    assert told(Log.of(ITEMS)) == told(log)
    assert Log.of(ITEMS).length == log.length


def test_every_event_advances_the_position() -> None:
    log = taken(SAID)
    ends = [piece.end for piece in log.since(0)]
    assert ends == sorted(set(ends))
    assert ends[-1] == log.length


def test_what_lies_after_an_offset_is_the_same_from_memory_pieces_and_the_end() -> None:
    """Written down in pieces as the clock has it, and read from every character on."""
    chance = random.Random(7)
    log, rows, written = Log(), [], 0
    for event in SAID:
        log.take(event)
        if chance.random() < 0.5:
            rows += log.since(written)
            written = log.length
    log.finish()
    rows += log.since(written)
    stored = Log.of_pieces((piece.kind, piece.number, piece.text) for piece in rows)
    of_items = Log.of(items_from_json(items_to_json(log.items())))
    assert stored.items() == log.items()
    for offset in range(log.length + 1):
        assert told(log, offset) == told(stored, offset) == told(of_items, offset)
        # A reader of the rows gets it in more pieces, and nothing twice.
        cut = [row.after(offset) for row in rows if row.end > offset]
        assert joined(cut) == joined(log.since(offset))


def joined(pieces: list[logs.Piece]) -> list[tuple[str, int | None, str]]:
    """A seal and a call are pieces of their own, also one after the other."""
    found: list[tuple[str, int | None, str]] = []
    for (kind, number), same in groupby(pieces, lambda piece: (piece.kind, piece.number)):
        texts = [piece.text for piece in same]
        found += [(kind, number, each) for each in (texts if kind in logs.WHOLE else ["".join(texts)])]
    return found


@pytest.mark.parametrize(
    "last",
    [
        ToolCallDelta(0, "}"),
        ToolCallDelta(3, "{", "call_z", ""),
        ToolCallDelta(3, "{", "call_z", "n" * (logs.MAX_NAME + 1)),
        ToolCallDelta(3, "{", "i" * (logs.MAX_ID + 1), "name"),
        TextDelta("x" * (logs.MAX_CHARACTERS + 1)),
    ],
    ids=["late", "nameless", "long name", "long id", "too much"],
)
def test_what_cannot_be_kept_is_refused_and_leaves_the_log_as_it_was(last: Delta) -> None:
    before: list[Delta] = [ToolCallDelta(0, "{", "call_a", "first"), ToolCallDelta(1, "{}", "call_b", "second")]
    log = taken(before)
    items, length = log.items(), log.length
    with pytest.raises(OutputMalformed):
        log.take(last)
    log.finish()
    assert (log.items(), log.length) == (items, length)


def test_a_million_calls_end_at_the_bound() -> None:
    log = Log()
    for number in range(logs.MAX_CALLS):
        log.take(ToolCallDelta(number, "{}", f"call_{number}", "again"))
    for number in range(logs.MAX_CALLS, 1_000):
        with pytest.raises(OutputMalformed):
            log.take(ToolCallDelta(number, "{}", f"call_{number}", "again"))
    assert len(log.items()) == logs.MAX_CALLS


def test_empty_pieces_and_repeated_names_change_nothing() -> None:
    log = taken(
        [
            ToolCallDelta(0, "{", "call_a", "first"),
            ToolCallDelta(0, "", "call_a", "first"),
            TextDelta(""),
            ToolCallDelta(0, "}", "call_a", "first"),
            TextDelta("after"),
            ToolCallDelta(0, ""),
        ]
    )
    assert log.items() == (ToolCall("call_a", "first", "{}"), Message("assistant", "after"))


def test_items_and_options_are_read_as_they_were_written() -> None:
    items: tuple[Item, ...] = (
        Message("system", "Be kind"),
        Message("user", (Text("What is this?"), Image("image/png", "aGk="))),
        ToolCall("a", "look", "{}"),
        ToolResult("a", (Text("a cat"),), failed=True),
        ToolResult("b", "a dog"),
        Reasoning("hm", "openai", {"field": "reasoning_content"}),
    )
    options = Options(
        max_output_tokens=5,
        temperature=0.0,
        stop=("a", "b"),
        tools=(Tool("look", "Looks", {"type": "object"}, strict=True),),
        tool_choice=ToolChoice("named", "look"),
        output_format=OutputFormat({"type": "object"}),
    )
    assert items_from_json(items_to_json(items)) == items
    assert options_from_json(options_to_json(options)) == options
    assert options_to_json(NO_OPTIONS) == {}


@pytest.mark.parametrize(
    "stored",
    [
        {"type": "wish", "text": "x"},
        {"type": "message", "role": "user"},
        {"type": "message", "role": "user", "content": "x", "tenant_id": "y"},
        {"type": "message", "role": "user", "content": [{"type": "audio"}]},
        {"type": "tool_call", "id": "a"},
    ],
)
def test_what_was_not_written_here_is_not_read(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"of ours|kind"):
        items_from_json([stored])
    with pytest.raises(ValueError, match="of ours"):
        options_from_json({"tenant_id": "x"})
