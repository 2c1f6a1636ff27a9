"""Schemas that callers bring are bounded, and answers are held to them."""

import asyncio
import json
from typing import Any

import pytest

from app.core.completion import Completion, FinishReason
from app.core.errors import EmptyAnswer, OutputMismatch, ProviderError
from app.core.items import Options, OutputFormat, Tool, ToolCall, ToolChoice
from app.llm import checked
from app.llm.base import Call
from app.llm.checked import Checked
from app.llm.mock import MockProvider
from app.llm.schemas import MAX_CHARACTERS, MAX_VALUES, check_parameters, check_schema, is_met, weight_of
from tests.llm.scripted import TURNS, Scripted

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
TREE = {"$defs": {"node": NODE}, "$ref": "#/$defs/node"}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    inner = schema
    for _ in range(levels):
        inner["properties"] = {}
        inner = inner["properties"]
    return schema


def doubling(levels: int) -> dict[str, Any]:
    """One that a text of a letter keeps busy for 2 to the power of `levels`."""
    steps = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(levels)}
    return {"$defs": {**steps, f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        CITY,
        TREE,
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": CITY}, "$ref": "#/definitions/a"},
        {"$id": "https://example.com/of-our-own", "type": "object"},
        {"properties": {"$id": {"type": "string"}, "$anchor": {}, "pattern": {"type": "string"}}},
        {"allOf": [{"type": "integer"}], "oneOf": [{"$ref": "#/allOf/0"}]},
        {"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"},
        {"pattern": "^(a+)+$"},
        {"of_tomorrow": 5},
        doubling(8),
        deep(20),
    ],
    ids=str,
)
def test_a_schema_of_a_reasonable_size_is_taken(schema: dict[str, Any]) -> None:
    check_schema(schema)
    check_parameters(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "object"),
        (True, "object"),
        (deep(10**6), "deep"),
        ({"enum": list(range(MAX_VALUES))}, "too large"),
        ({"description": "x" * MAX_CHARACTERS}, "too large"),
        ({"maximum": 10 ** (3 * MAX_CHARACTERS)}, "too large"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_one_that_is_none_or_too_large_is_neither_an_outputs_nor_a_tools(schema: object, words: str) -> None:
    for check in (check_schema, check_parameters):
        with pytest.raises(ValueError, match=words):
            check(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (doubling(40), "too often"),
        ({"$ref": "https://example.com/x"}, "alone"),
        ({"$ref": "x.json"}, "alone"),
        ({"$ref": 5}, "alone"),
        ({"$dynamicRef": "#a"}, "alone"),
        ({"$defs": {"a": {"$id": "x", "type": "string"}}, "$ref": "#/$defs/a"}, "alone"),
        ({"$ref": "#/$defs/none"}, "not in it"),
        ({"allOf": [{}], "$ref": "#/allOf/1"}, "not in it"),
        ({"$schema": "https://example.com/x"}, "draft"),
        ({"$schema": []}, "draft"),
        ({"type": "sekret"}, "not valid at /type"),
        ({"properties": {"a": {"pattern": "("}}}, "not valid at /properties/a/pattern"),
        ({"pattern": "(((a{1,100}){1,100}){1,100})"}, "not valid"),
        ({"properties": {str(at): {"pattern": f"a{at}"} for at in range(21)}}, "patterns"),
    ],
    ids=str,
)
def test_what_no_answer_can_be_held_to_is_refused_in_words_that_do_not_repeat_it(
    schema: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_schema(schema)
    assert "sekret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ('{"city": "Paris"}', True),
        (' {"city": "Paris", "people": 2}\n', True),
        ('{"city": 5}', False),
        ('{"city": "Paris", "more": 1}', False),
        ("{}", False),
        ('```json\n{"city": "Paris"}\n```', False),
        ('{"city": "Par', False),
        ("", False),
        ('{"city": "Paris", "people": NaN}', False),
        ("[" * 100_000, False),
        ('{"city": "Paris", "people": ' + "9" * 5000 + "}", False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_text_is_held_to_its_schema(text: str, met: bool) -> None:
    assert is_met(text, CITY) is met


def test_without_a_schema_any_object_will_do() -> None:
    assert is_met("{}", None)
    assert not is_met("[]", None)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[NaN]"])
def test_what_is_no_number_of_json_meets_not_even_a_schema_that_takes_all(text: str) -> None:
    assert is_met("1e999", {})
    assert not is_met(text, {})


def test_a_tangle_of_references_is_weighed_and_does_not_double_with_the_depth() -> None:
    branch = {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["z"]}
    schema = {"$defs": {"n": {"anyOf": [branch, {**branch, "required": ["y"]}]}}, "$ref": "#/$defs/n"}
    value: Any = 1
    for _ in range(200):
        value = {"a": value}
    check_schema(schema)
    assert not is_met(json.dumps(value), schema)  # 2 to the power of 200, if it did


def checking(answer: Completion) -> Checked:
    return Checked(Scripted(answer))


def wanting(schema: dict[str, Any] | None) -> Call:
    return Call(TURNS, options=Options(output_format=OutputFormat(schema)))


async def test_an_answer_that_does_not_fit_is_kept_with_its_error() -> None:
    answer = Completion('{"city": 5}', "script-1", 3, 5, finish_reason=FinishReason.STOP)
    with pytest.raises(OutputMismatch) as caught:
        await checking(answer).complete(wanting(CITY))
    assert caught.value.answer == answer
    assert caught.value.code == "output_mismatch"
    assert await checking(answer).complete(Call(TURNS)) == answer
    assert await checking(answer).complete(wanting(None)) == answer


async def test_what_cannot_be_checked_is_not_met() -> None:
    with pytest.raises(OutputMismatch):
        await checking(Completion("{}", "script-1")).complete(wanting({"$ref": "#/none"}))


async def test_a_tools_call_need_not_fit() -> None:
    answer = Completion("", "script-1", items=(ToolCall("call_1", "f", "{}"),))
    assert await checking(answer).complete(wanting(CITY)) == answer


async def test_other_errors_are_their_own() -> None:
    with pytest.raises(EmptyAnswer):
        await Checked(Scripted(EmptyAnswer())).complete(wanting(CITY))


async def test_the_mocks_answers_fit_and_cut_ones_do_not() -> None:
    provider = Checked(MockProvider())
    assert json.loads((await provider.complete(wanting(CITY))).text) == {"city": "mock"}
    options = Options(output_format=OutputFormat(CITY), max_output_tokens=1)
    with pytest.raises(OutputMismatch):
        await provider.complete(Call(TURNS, options=options))
    tools = Options(tools=(Tool("f"),), tool_choice=ToolChoice("required"), output_format=OutputFormat(CITY))
    assert (await provider.complete(Call(TURNS, options=tools))).finish_reason == FinishReason.TOOL_CALLS


@pytest.mark.parametrize(("people", "met"), [(1, True), ("x", False)])
async def test_long_answers_are_held_to_it_by_a_process_of_their_own(people: Any, met: bool) -> None:
    text = json.dumps([{"city": "Paris", "people": people}] * 20_000)
    schema = {"type": "array", "items": CITY}
    call = asyncio.ensure_future(checking(Completion(text, "script-1")).complete(wanting(schema)))
    # The loop is free while the other process works.
    await asyncio.sleep(0)
    assert not call.done()
    if met:
        assert (await call).text == text
    else:
        with pytest.raises(OutputMismatch):
            await call


async def test_an_answer_that_takes_too_long_to_check_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "CHILD_SECONDS", 0.0)
    with pytest.raises(ProviderError):
        await checking(Completion(json.dumps(["x" * 200_000]), "script-1")).complete(wanting({"type": "array"}))


def test_patterns_that_look_around_weigh_more() -> None:
    plain, looking = {"pattern": "^a"}, {"pattern": "^(?!b)a"}
    assert weight_of(looking) == 1000 * weight_of(plain)
    assert is_met('"ab"', looking)
    assert not is_met('"ba"', looking)
