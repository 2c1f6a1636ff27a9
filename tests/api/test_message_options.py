"""What `POST /messages` takes beside a text, and what it refuses before anything is stored."""

from typing import Any

import httpx
import pytest

from app.llm.schemas import MAX_DEPTH
from tests.api.problems import assert_problem
from tests.helpers import Tenant
from tests.statements import statements

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="
TOOL = {"name": "look"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


async def send(client: httpx.AsyncClient, tenant: Tenant, **body: Any) -> httpx.Response:
    return await client.post("/messages", json=body, headers=tenant.user.headers)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": []},
        {"content": 7},
        {"content": [{"type": "text", "text": ""}]},
        {"content": [{"type": "audio", "text": "x"}]},
        {"content": [{"type": "text", "text": "x", "role": "admin"}]},
        {"content": [{"type": "image_url", "image_url": "x"}]},
        {"content": [{"type": "text", "text": "x"}] * 101},
        {"content": "x", "tool_results": [{"call_id": "a"}]},
        {"tool_results": [], "conversation_id": "x"},
        {"content": "x", "temperature": 2.1},
        {"content": "x", "temperature": "warm"},
        {"content": "x", "top_p": -1},
        {"content": "x", "max_output_tokens": 0},
        {"content": "x", "max_output_tokens": 10**18},
        {"content": "x", "seed": 2**63},
        {"content": "x", "stop": ["a", "b", "c", "d", "e"]},
        {"content": "x", "stop": [""]},
        {"content": "x", "reasoning_effort": "very"},
        {"content": "x", "model": "a\x00b"},
        {"content": "x", "model": "a\nb"},
        {"content": "x", "model": "m" * 256},
        {"content": "x", "metadata": {str(number): "x" for number in range(17)}},
        {"content": "x", "metadata": {"k": "v" * 513}},
        {"content": "x", "metadata": {"k": 7}},
        {"content": "x", "metadata": {"k": "a\x00b"}},
        {"content": "x", "tools": [{"name": "no name"}]},
        {"content": "x", "tools": [TOOL, TOOL]},
        {"content": "x", "tools": [{"name": f"t{number}"} for number in range(129)]},
        {"content": "x", "tools": [{**TOOL, "parameters": nested(MAX_DEPTH)}]},
        {"content": "x", "tools": [{**TOOL, "parameters": {"a": [0] * 20_000}}]},
        {"content": "x", "tool_choice": "required"},
        {"content": "x", "tools": [TOOL], "tool_choice": {"name": "other"}},
        {"content": "x", "output_format": {"json_schema": nested(2 * MAX_DEPTH)}},
        {"content": "x", "output_format": {"schema": {}}},
        {"content": "x", "output_format": {"json_schema": {"type": "no type"}}},
        {"content": "x", "n": 10**9},
    ],
)
async def test_what_is_no_message_is_refused(client: httpx.AsyncClient, acme: Tenant, body: dict[str, Any]) -> None:
    assert_problem(await send(client, acme, **body), 422, "invalid-input")
    assert (await client.get("/messages", headers=acme.user.headers)).json() == []


async def test_an_image_is_a_part_and_the_text_is_found(client: httpx.AsyncClient, acme: Tenant) -> None:
    parts = [
        {"type": "text", "text": "What is on "},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "text", "text": "this picture?"},
    ]
    sent = await send(client, acme, content=parts)
    assert sent.status_code == 201, sent.text
    assert sent.json()["content"] == "What is on this picture?"
    found = (await client.get("/messages", params={"q": "picture"}, headers=acme.user.headers)).json()
    assert [row["id"] for row in found] == [sent.json()["id"]]


@pytest.mark.parametrize("url", [SVG, "data:image/png;base64,eA==", "data:,x", "http://127.0.0.1/x.png", "ftp://x"])
async def test_what_is_no_image_is_refused(client: httpx.AsyncClient, acme: Tenant, url: str) -> None:
    answer = await send(client, acme, content=[{"type": "image_url", "image_url": {"url": url}}])
    assert answer.status_code == 422
    assert (await client.get("/messages", headers=acme.user.headers)).json() == []


async def test_what_a_message_is_said_to_be_is_shown_with_it(client: httpx.AsyncClient, acme: Tenant) -> None:
    sent = (await send(client, acme, content="Hello", metadata={"ticket": "7"}, seed=1)).json()
    for shown in (sent, (await client.get(f"/messages/{sent['id']}", headers=acme.user.headers)).json()):
        assert (shown["metadata"], shown["api"], shown["stored"]) == ({"ticket": "7"}, "messages", True)
        assert (shown["output"], shown["tool_calls"], shown["previous_id"]) == (None, None, None)


async def test_a_key_holds_for_all_that_was_asked(client: httpx.AsyncClient, acme: Tenant) -> None:
    headers = {**acme.user.headers, "Idempotency-Key": "one"}
    body = {"content": "Hello", "temperature": 0.5, "tools": [TOOL]}
    first = (await client.post("/messages", json=body, headers=headers)).json()
    again = await client.post("/messages", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    for changed in ({"temperature": 0.6}, {"tools": []}, {"metadata": {"a": "b"}}, {"max_output_tokens": 5}):
        assert (await client.post("/messages", json=body | changed, headers=headers)).status_code == 422


async def test_a_plain_message_is_stored_as_ever_and_another_takes_no_trip_more(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    with statements() as plain:
        await send(client, acme, content="Hello")
    with statements() as more:
        await send(client, acme, content="Hello", temperature=0.5, metadata={"a": "b"})
    # What is remembered of a tenant's own keys is looked up once in a while, by whichever message comes then.
    own_keys = "FROM provider_keys"
    plain, more = ([each for each in said if own_keys not in each] for said in (plain, more))
    assert len(plain) == len(more)
    assert not [statement for statement in plain if "INTO message_contents" in statement]
    assert [statement for statement in more if "INTO message_contents" in statement]
