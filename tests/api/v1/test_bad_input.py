"""What is wrong with a request in whatever interface it is sent: it is refused by its place, and nobody is asked."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from app.core.ids import new_id
from app.llm.images import Images
from tests.api.v1.conftest import Live
from tests.conftest import client_of
from tests.helpers import Tenant

MIB = 2**20
SVG = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>').decode()


def with_parts(kind: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": kind, "text": "Look."}, *parts]}]


def anthropic_source(url: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": media_type, "data": data}


@dataclass(frozen=True)
class Dialect:
    """What of a body offers a tool, asks for a schema, or shows a picture."""

    path: str
    body: dict[str, Any]
    tool: Callable[[Any], dict[str, Any]]
    schema: Callable[[Any], dict[str, Any]]
    image: Callable[[str], dict[str, Any]]


HELLO = [{"role": "user", "content": "Hello"}]
DIALECTS = {
    "chat": Dialect(
        "/v1/chat/completions",
        {"messages": HELLO},
        lambda schema: {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
        lambda schema: {
            "response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": schema, "strict": True}}
        },
        lambda url: {"messages": with_parts("text", {"type": "image_url", "image_url": {"url": url}})},
    ),
    "responses": Dialect(
        "/v1/responses",
        {"input": "Hello"},
        lambda schema: {"tools": [{"type": "function", "name": "f", "parameters": schema}]},
        lambda schema: {"text": {"format": {"type": "json_schema", "name": "f", "schema": schema}}},
        lambda url: {"input": with_parts("input_text", {"type": "input_image", "image_url": url})},
    ),
    "anthropic": Dialect(
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 50},
        lambda schema: {"tools": [{"name": "f", "input_schema": schema}]},
        lambda schema: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        lambda url: {"messages": with_parts("text", {"type": "image", "source": anthropic_source(url)})},
    ),
}
pytestmark = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


async def send(live: Live, tenant: Tenant, dialect: Dialect, **changed: Any) -> httpx.Response:
    body = {"model": "mock-echo", **dialect.body, **changed}
    return await live.client.post(dialect.path, json=body, headers=tenant.user.headers)


@pytest.fixture
def refused(live: Live, tenant: Tenant) -> Callable[..., Any]:
    """Sends what must be refused as a request, of which no row is made."""

    async def send_it(dialect: Dialect, words: str, **changed: Any) -> str:
        before = (await live.client.get("/usage", headers=tenant.admin.headers)).json()
        answer = await send(live, tenant, dialect, **changed)
        assert answer.status_code == 400, answer.text
        said: str = answer.json()["error"]["message"]
        assert words in said
        assert len(answer.content) < 1000  # what was sent is not said again
        assert (await live.client.get("/usage", headers=tenant.admin.headers)).json() == before
        return said

    return send_it


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


async def test_a_schema_a_megabyte_deep_is_refused(live: Live, tenant: Tenant, dialect: Dialect) -> None:
    body = str({**dialect.body, **dialect.tool("HERE")}).replace("'", '"')
    deep = '{"items": ' * (MIB // 11) + "{}" + "}" * (MIB // 11)
    answer = await live.client.post(
        dialect.path,
        content=body.replace('"HERE"', deep),
        headers={**tenant.user.headers, "Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert "not JSON in UTF-8, or too deep" in answer.json()["error"]["message"]


async def test_a_schema_that_is_too_much_is_named(dialect: Dialect, refused: Callable[..., Any]) -> None:
    for shape in (dialect.tool, dialect.schema):
        await refused(dialect, "deep", **shape(nested(40)))
        await refused(dialect, "too large", **shape({"description": "x" * MIB}))
        await refused(dialect, "an object", **shape([1]))
    await refused(dialect, "schema", **dialect.schema({"$ref": "https://example.com/x"}))
    await refused(dialect, "schema", **dialect.schema({"type": "no type"}))
    again = {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/n"}}}] * 2}
    await refused(dialect, "not in it", **dialect.schema({**again, "$ref": "#/$defs/none"}))


async def test_no_model_has_control_characters(dialect: Dialect, refused: Callable[..., Any]) -> None:
    for name in ("a\x07b", "a\nb", "a\x1b[2Jb", "a\x9bb", "m" * 10_000):
        assert (await refused(dialect, "model", model=name)).isprintable()


async def test_a_picture_of_50_megabytes_is_refused_by_its_length(live: Live, tenant: Tenant, dialect: Dialect) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(67):
            read += MIB
            yield b"A" * MIB

    for length in ({"Content-Length": str(67 * MIB)}, {}):
        headers = {**tenant.user.headers, "Content-Type": "application/json", **length}
        async with client_of(live.app) as client:
            answer = await client.post(dialect.path, content=body(), headers=headers)
        assert answer.status_code == 413
        assert "error" in answer.json()
    assert read < 2 * 33 * MIB


async def test_what_is_no_picture_is_named(dialect: Dialect, refused: Callable[..., Any]) -> None:
    for kind in ("image/svg+xml", "image/png"):
        await refused(dialect, "PNG, JPEG, GIF or WebP", **dialect.image(f"data:{kind};base64,{SVG}"))
    await refused(dialect, "base64", **dialect.image("data:image/png;base64,%%%%"))
    await refused(dialect, "https", **dialect.image("http://127.0.0.1/x.png"))


async def test_no_picture_leads_to_an_address_of_our_own(
    live: Live, dialect: Dialect, refused: Callable[..., Any]
) -> None:
    async with asking("127.0.0.2") as (inside, asked), asking("127.0.0.1", inside) as (outside, led):
        images = Images(MIB, [ip_network("127.0.0.1/32")], ("https", "http"))
        with live.sharing(images=images):
            await refused(dialect, "could not be fetched", **dialect.image(outside))
            await refused(dialect, "could not be fetched", **dialect.image(inside))
        await images.close()
    assert (len(led), asked) == (1, [])


async def test_no_picture_is_fetched_for_a_request_that_is_wrong_elsewhere_nor_to_count_it(
    live: Live, tenant: Tenant, dialect: Dialect, refused: Callable[..., Any]
) -> None:
    counts = {"/v1/responses": "/v1/responses/input_tokens", "/v1/messages": "/v1/messages/count_tokens"}
    async with asking("127.0.0.1") as (url, asked):
        images = Images(MIB, [ip_network("127.0.0.1/32")], ("https", "http"))
        with live.sharing(images=images):
            await refused(dialect, "temperature", **dialect.image(url), temperature="warm")
            if path := counts.get(dialect.path):
                body = {"model": "mock-echo", **dialect.image(url)}
                counted = await live.client.post(path, json=body, headers=tenant.user.headers)
                assert counted.json()["input_tokens"] > 0
        await images.close()
    assert asked == []


@asynccontextmanager
async def asking(host: str, elsewhere: str = "") -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says where the picture is instead."""
    heard: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(accept, host, 0) as server:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}/x.png", heard


@pytest.mark.parametrize("changed", [{"n": 10**9}, {"previous_response_id": f"resp_{new_id()}"}], ids=["n", "previous"])
async def test_what_an_interface_has_not_is_passed_over_and_what_it_has_is_looked_at(
    live: Live, tenant: Tenant, dialect: Dialect, changed: dict[str, Any]
) -> None:
    """A billion answers are one, or none; somebody else's response is only asked for where there are responses."""
    known = {"/v1/chat/completions": "n", "/v1/responses": "previous_response_id"}.get(dialect.path)
    answer = await send(live, tenant, dialect, **changed)
    assert answer.status_code == (400 if known in changed else 200), answer.text
    if known in changed:
        assert answer.json()["error"]["param"] == known
