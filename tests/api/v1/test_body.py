"""What a body below `/v1` may be made of, and what is said of one that is wrong."""

import json
from typing import Any

import pytest
from starlette.requests import Request

from app.api.http.bodies import BodiesInFlight, HeldBody
from app.api.v1 import fields
from app.api.v1.body import MAX_VALUES, PIECE_BYTES, read_object
from app.api.v1.fields import Fields, log_unknown
from app.core.errors import InvalidRequest, Overloaded, TooManyLargeRequests, UnsupportedMediaType
from tests.api.problems import MARKER


async def read(body: bytes, media_type: str = "application/json") -> Fields:
    pieces = [body[at : at + 60_000] for at in range(0, len(body), 60_000)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    headers = [(b"content-type", media_type.encode())]
    return await read_object(Request({"type": "http", "method": "POST", "headers": headers, "state": {}}, receive))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": 1e999999999}', "invalid_json"),
        (b'{"a": "\xff"}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"a":' * 200_000, "invalid_json"),
        (b"[" * 1_000_000, "request_too_complex"),
        (b"[]", "invalid_type"),
        (b"null", "invalid_type"),
        (b'{"messages": [' + b'{"role":"user"},' * MAX_VALUES + b"{}]}", "request_too_complex"),
    ],
)
async def test_what_is_no_object_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(body)
    assert refused.value.code == code


async def test_texts_may_hold_what_structure_is_made_of() -> None:
    text = 'a, [b] {c}: "d" \\ ' * MAX_VALUES
    assert len(json.dumps(text)) > 3 * PIECE_BYTES
    assert (await read(json.dumps({"text": text}).encode())).raw("text") == text


@pytest.mark.parametrize("padding", [0, 1])
async def test_a_piece_may_end_between_a_backslash_and_its_quote(padding: int) -> None:
    text = "x" * padding + '"' * (PIECE_BYTES * 3 // 4) + "," * (MAX_VALUES + 1)
    assert (await read(json.dumps({"text": text}).encode())).raw("text") == text


async def test_values_beside_texts_are_counted() -> None:
    body = json.dumps({"text": '"\\' * PIECE_BYTES, "more": [1] * MAX_VALUES}).encode()
    with pytest.raises(InvalidRequest, match="values"):
        await read(body)


async def test_no_nul_comes_in() -> None:
    found = await read(b'{"a\\u0000": ["x\\u0000y", {"b": "\\u0000"}], "c": "\\\\u0000"}')
    assert found.raw("a\ufffd") == ["x\ufffdy", {"b": "\ufffd"}]
    assert found.raw("c") == "\\u0000"


async def test_another_media_type_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(b"{}", "text/plain")


# --- fields


@pytest.mark.parametrize(
    ("take", "place"),
    [
        (lambda body: body.text("text"), "text"),
        (lambda body: body.integer("text", 0, 1), "text"),
        (lambda body: body.integer("flag", 0, 1), "flag"),
        (lambda body: body.integer("number", 0, 1), "number"),
        (lambda body: body.number("number", 0, 1), "number"),
        (lambda body: body.flag("number"), "number"),
        (lambda body: body.required_text("null"), "null"),
        (lambda body: body.required_object("nothing"), "nothing"),
        (lambda body: body.object("list"), "list"),
        (lambda body: body.objects("list", 9), "list[0]"),
        (lambda body: body.objects("inner", 9)[0].text("x"), "inner[0].x"),
        (lambda body: body.objects("list", 1), "list"),
        (lambda body: body.one_of("word", ("yes", "no")), "word"),
        (lambda body: body.text("word", 3), "word"),
        (lambda body: body.pairs("pairs", 1, 9, 9), "pairs"),
        (lambda body: body.pairs("pairs", 9, 2, 9), "pairs"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(take: Any, place: str) -> None:
    sent = {"text": 5, "flag": True, "number": 2.5, "null": None, "list": [1, 2], "word": MARKER, "inner": [{"x": 1}]}
    with pytest.raises(InvalidRequest) as refused:
        take(Fields({**sent, "pairs": {"one": "1", "two": "2"}}))
    assert refused.value.param == place
    assert MARKER not in refused.value.detail


def test_null_is_as_good_as_none() -> None:
    body = Fields({"a": None})
    assert body.text("a") is body.integer("a", 0, 1) is body.flag("a") is body.object("a") is body.pairs("a", 1, 1, 1)
    assert body.objects("a", 1) == []


def test_unknown_fields_are_logged_by_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Any] = []
    monkeypatch.setattr(fields, "_logged", set())
    monkeypatch.setattr(fields.logger, "info", lambda event, **values: lines.append((event, values["fields"])))
    for _ in range(2):
        body = Fields({"known": 1, "new_one": MARKER, f"{MARKER} {MARKER}": 2, **{f"z{n}": n for n in range(50)}})
        body.raw("known")
        log_unknown("chat", body)
    names = [name for _, found in lines for name in found]
    assert len(names) == len(set(names)) <= 2 * fields.MAX_NAMES_OF_A_REQUEST
    assert not any(MARKER in name or name == "known" for name in names)


def test_the_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_logged", set())
    for number in range(3 * fields.MAX_NAMES):
        log_unknown("chat", Fields({f"name{number}": 1}))
    assert len(fields._logged) <= fields.MAX_NAMES


# --- bodies in flight


def test_a_tenant_has_half_of_the_bytes_and_the_process_all() -> None:
    bodies = BodiesInFlight(100)
    first, second, third = (HeldBody(bodies) for _ in range(3))
    first.grow_to(30, "one")
    first.grow_to(50, "one")
    with pytest.raises(TooManyLargeRequests):
        second.grow_to(1, "one")
    second.grow_to(50, "two")
    with pytest.raises(Overloaded):
        third.grow_to(1, "three")
    first.answered()
    first.answered()
    third.grow_to(50, "three")
    second.answered()
    third.answered()
    assert bodies.held == 0


async def test_a_body_that_is_in_use_is_held_until_the_end_of_it() -> None:
    import asyncio

    bodies, end = BodiesInFlight(100), asyncio.get_running_loop().create_future()
    body = HeldBody(bodies)
    body.grow_to(40, "one")
    body.keep_until(end)
    body.answered()
    assert bodies.held == 40
    end.set_result(None)
    await asyncio.sleep(0)
    assert bodies.held == 0


def test_what_a_body_only_names_is_held_beside_it() -> None:
    bodies = BodiesInFlight(100)
    body = HeldBody(bodies)
    body.grow_to(20, "a")
    body.add(30, "a")
    with pytest.raises(TooManyLargeRequests):
        body.add(1, "a")
    assert bodies.held == 50
    body.answered()
    assert bodies.held == 0
