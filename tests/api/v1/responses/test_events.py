"""The events of a response, and their numbers."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.v1.responses.events import ResponseEvents
from app.core.errors import ProviderUnavailable
from app.core.ids import new_id
from app.core.items import Item, Message, Reasoning, TextDelta, ToolCall
from tests.api.v1.responses.joining import joined
from tests.api.v1.responses.pieces import deltas
from tests.api.v1.responses.requests import SHOWN
from tests.api.v1.responses.specification import check_event, events_of

SEAL = {"signature": "bytes that mean something to one provider"}
ANSWER: Sequence[Item] = (
    Reasoning("It asks about Zürich.\u2028Look it up. 🌧", "anthropic", SEAL),
    Message("assistant", "I look \u0085 both up."),
    ToolCall("call_a", "weather", '{"city": "Zürich"}'),
    ToolCall("call_b", "now", ""),
    Reasoning("", "anthropic", SEAL),
    Message("assistant", "So."),
)


def row(**different: Any) -> Any:
    values = {
        "id": new_id(),
        "attempts": 1,
        "created_at": datetime.now(UTC),
        "updated_at": datetime.now(UTC),
        "model": "small",
        "asked_model": None,
        "previous_id": None,
        "conversation_id": None,
        "metadata": {"for": "a test"},
        "status": "completed",
        "finish_reason": "stop",
        "input_tokens": 11,
        "output_tokens": 22,
        "cached_tokens": 3,
        "reasoning_tokens": 4,
    }
    return SimpleNamespace(**(values | different))


def stream(message: Any, seed: int, after: int = -1, answer: Sequence[Item] = ANSWER) -> list[dict[str, Any]]:
    events = ResponseEvents(SHOWN, with_seal=True, after=after)
    frames = [*events.begin(message)]
    for delta in deltas(answer, random.Random(seed)):
        frames += events.delta(delta)
    return events_of([*frames, *events.end(message, answer)])


def test_every_event_is_as_the_specification_and_the_client_have_it() -> None:
    for event in stream(row(), 1):
        check_event(event)


def test_an_answer_has_one_row_of_numbers_however_it_was_cut() -> None:
    message = row()
    assert joined(stream(message, 1)) == joined(stream(message, 2))
    numbers = [event["sequence_number"] for event in stream(message, 3)]
    assert numbers[0] == 0
    assert numbers == sorted(set(numbers))


def test_who_goes_on_after_any_event_reads_the_rest_though_it_is_cut_elsewhere() -> None:
    message = row()
    whole = stream(message, 4)
    for place, event in enumerate(whole):
        rest = stream(message, place, after=event["sequence_number"])
        assert joined(whole) == joined(whole[: place + 1] + rest)
    assert stream(message, 5, after=whole[-1]["sequence_number"]) == []


def test_the_end_has_the_items_that_the_events_had() -> None:
    events = stream(row(), 6)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert events[-1]["response"]["output"] == done
    assert added == [item["id"] for item in done]
    assert done[0]["encrypted_content"] == events[-1]["response"]["output"][0]["encrypted_content"] is not None


@pytest.mark.parametrize(
    ("status", "reason", "last", "shown"),
    [
        ("completed", "stop", "response.completed", "completed"),
        ("completed", "tool_calls", "response.completed", "completed"),
        ("completed", "length", "response.incomplete", "incomplete"),
        ("completed", "content_filter", "response.incomplete", "incomplete"),
        ("cancelled", None, "response.incomplete", "cancelled"),
        ("failed", None, "response.failed", "failed"),
    ],
)
def test_a_stream_ends_as_its_message_did(status: str, reason: str | None, last: str, shown: str) -> None:
    message = row(status=status, finish_reason=reason)
    events = ResponseEvents(SHOWN, with_seal=False)
    error = ProviderUnavailable(message.id)
    frames = [*events.begin(message), *events.delta(TextDelta("so f"))]
    ended = events_of([*frames, *events.end(message, (Message("assistant", "so f"),), error)])
    for event in ended:
        check_event(event)
    assert ended[-1]["type"] == last
    assert ended[-1]["response"]["status"] == shown
    assert ended[-1]["response"]["error"] == (
        {"code": "server_error", "message": error.detail} if status == "failed" else None
    )
    item = "completed" if shown == "completed" else "incomplete"
    assert [each["status"] for each in ended[-1]["response"]["output"]] == [item]
    assert ended[-2]["item"]["status"] == item


def test_an_answer_that_is_begun_again_is_numbered_behind_what_was_read() -> None:
    message = row()
    first = stream(message, 7)
    message.attempts = 2
    again = stream(message, 7, after=first[-1]["sequence_number"])
    assert [event["type"] for event in again] == [event["type"] for event in first]


def test_a_reader_is_told_why_it_hears_no_end() -> None:
    events = ResponseEvents(SHOWN, with_seal=False)
    error = {
        "message": "There is no such resource.",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }
    told = events_of([*events.begin(row()), *events.fail(error)])[-1]
    check_event(told)
    assert (told["error"], told["message"], told["sequence_number"]) == (error, error["message"], 2)
