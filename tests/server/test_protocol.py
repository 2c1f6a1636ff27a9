"""HTTP/1.1 by the byte, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from app.server import Protocol
from app.server.exchange import Exchange
from tests.helpers import Tenant
from tests.server.raw import Connection, connected, exchanged, listening

LOGIN = b'{"email": "nobody@acme.com", "password": "wrong password"}'
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
CHUNKED = b"POST /login HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"


@pytest_asyncio.fixture(scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    async with listening(app) as port:
        yield port


def post(path: str, *headers: str, body: bytes = LOGIN, offer: bytes = b"") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n" + offer + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def problem_of(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    assert b"connection: close" in head
    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem["status"], problem


@pytest.mark.parametrize("cut", [None, 40, -len(LOGIN), -10])
async def test_an_offer_of_another_protocol_is_ignored(port: int, cut: int | None) -> None:
    request = post("/login", "Connection: close", offer=OFFER)
    pieces = [request] if cut is None else [request[:cut], request[cut:]]
    answer = await exchanged(port, *pieces)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Email or password is wrong" in answer


async def test_an_offer_with_a_chunked_body_is_ignored(port: int) -> None:
    head = CHUNKED + OFFER + b"\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in LOGIN) + b"0\r\n\r\n"
    async with connected(port) as connection:
        for request in (head + chunks, head + chunks):
            await connection.send(request)
            head_of_answer, body = await connection.answer()
            assert head_of_answer.startswith(b"HTTP/1.1 401 ")
            assert b"Email or password is wrong" in body


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0, HTTP/2.0"])
async def test_requests_after_an_offer_are_read(port: int, protocol: bytes) -> None:
    offered = (
        b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
    )
    async with connected(port) as connection:
        await connection.send(offered + offered, offered)
        for _ in range(3):
            assert (await connection.answer())[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/messages", "/tenants/{id}/export"])
async def test_an_older_client_gets_its_answer_unchunked(port: int, acme: Tenant, path: str) -> None:
    token = f"Authorization: Bearer {acme.admin.token}"
    body = b'{"content": "Hello", "stream": true}'
    request = post("/messages", token, body=body)
    if "export" in path:
        request = f"GET {path.format(id=acme.id)} HTTP/1.1\r\n{token}\r\n\r\n".encode()
    head, _, body = (await exchanged(port, request.replace(b"HTTP/1.1", b"HTTP/1.0"))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith((b"event: message\n", b'{"'))
    assert body.endswith(b"\n")


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /health HTTP/1.1\r\nHost: test\r\nX: ", *[b"a" * 50_000] * 3], 431),
        ([b"GET /health HTTP/1.1\r\nHost: test\r\n", *[b"a" * 50_000] * 3], 431),
        ([b"GET /health HTTP/1.1\r\nHost: test\r\n" + b"a:b\r\n" * 101], 431),
        ([b"\r\n" * 40_000], 431),
        ([b"GET /" + b"a" * 9_000], 414),
        ([b"GET /", *[b"a" * 5_000] * 2], 414),
        ([b"GET /health", b"\r\n\r\n"], 400),
        ([b"GET /health HTTP/2.0\r\nHost: test\r\n\r\n"], 400),
        ([b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"], 400),
        ([post("/login").replace(b"HTTP/1.1", b"HTTP/3.1")], 400),
        ([CHUNKED + b"\r\n", b"nonsense\r\n"], 400),
    ],
)
async def test_what_cannot_be_read_is_refused_before_it_is_complete(
    port: int, pieces: list[bytes], status: int
) -> None:
    assert problem_of(await exchanged(port, *pieces))[0] == status


@pytest.mark.parametrize("trailers", [b"X: " + b"a" * 200_000, b"a:b\r\n" * 101])
async def test_trailers_are_bounded(port: int, trailers: bytes) -> None:
    head = CHUNKED + b"\r\n"
    assert problem_of(await exchanged(port, head, b"2\r\n{}\r\n0\r\n", trailers))[0] == 431


async def test_a_trailer_is_no_header(port: int, acme: Tenant) -> None:
    head = b"GET /me HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    answer = await exchanged(port, head + f"Authorization: Bearer {acme.user.token}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_large_requests_within_the_bounds_are_served(port: int) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 550) for number in range(98))
    request = b"GET /health?" + b"a" * 8_000 + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + headers + b"\r\n"
    assert (await exchanged(port, request)).startswith(b"HTTP/1.1 200 ")
    assert (await exchanged(port, *[request[at : at + 997] for at in range(0, len(request), 997)])).startswith(
        b"HTTP/1.1 200 "
    )


async def test_answers_before_a_refusal_are_whole(port: int) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
    async with connected(port) as connection:
        await connection.send(request + request + b"nonsense\r\n\r\n")
        for _ in range(2):
            assert (await connection.answer())[0].startswith(b"HTTP/1.1 200 ")
        assert problem_of(await connection.rest())[0] == 400


@pytest.mark.parametrize(
    "pieces",
    [
        [b"G"],
        [b"GET /health HTTP/1.1\r\nHost: test\r\n"],
        [b"GET /health HTTP/1.1\r\nHost: test\r\n\r\nGET /heal"],
        [post("/login")[:-1]],
        [CHUNKED + b"\r\n", b"1\r\n{\r\n"],
    ],
)
async def test_a_request_that_does_not_arrive_is_not_waited_for(app: FastAPI, pieces: list[bytes]) -> None:
    async with listening(app, HEAD_SECONDS=0.2, BODY_SECONDS=0.2, TICK_SECONDS=0.02) as port:
        answer = await exchanged(port, *pieces)
    assert problem_of(b"HTTP/1.1 408" + answer.partition(b"HTTP/1.1 408")[2])[0] == 408


async def test_an_idle_connection_is_closed_without_a_word(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(app, TICK_SECONDS=0.02) as port, connected(port) as fresh, connected(port) as used:
        await used.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        await used.answer()
        assert not fresh.reader.at_eof()
        assert not used.reader.at_eof()
    monkeypatch.setattr(
        "app.server.protocol.get_settings", lambda: app.state.settings.model_copy(update={"keep_alive_seconds": 0.2})
    )
    async with listening(app, TICK_SECONDS=0.02) as port, connected(port) as fresh, connected(port) as used:
        await used.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        await used.answer()
        assert await fresh.rest() == await used.rest() == b""


@pytest.mark.parametrize("header", ["Content-Length: 50000000", "Transfer-Encoding: chunked", "Expect: 100-continue"])
async def test_a_client_that_sends_all_first_reads_the_refusal(port: int, header: str) -> None:
    head = f"POST /login HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{header}\r\n"
    if "Expect" in header:
        head += "Content-Length: 50000000\r\n"
    megabyte = b"x" * 1_000_000
    if "chunked" in header:
        megabyte = b"%x\r\n%b\r\n" % (len(megabyte), megabyte)
    answer = await exchanged(port, head.encode() + b"\r\n", *[megabyte] * 50)
    assert b"100 Continue" not in answer
    assert problem_of(answer)[0] == 413


async def test_what_is_sent_after_a_refusal_is_bounded(app: FastAPI) -> None:
    async with listening(app, MAX_LINGER_BYTES=1_000_000) as port, connected(port) as connection:
        await connection.send(post("/login")[:-2].replace(b"Length: 58", b"Length: 100000000"))
        await until_closed(connection, b"x" * 100_000)


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    gone = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.is_set():
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(0)
            if scope["path"] == "/whole":
                await send({"type": "http.response.body", "body": b"x" * 20_000_000})
                return

    bounds = {"WRITE_SECONDS": 0.2, "TICK_SECONDS": 0.02}
    async with listening(endless, **bounds) as port:
        for path in (b"/whole", b"/endless"):
            async with connected(port) as connection:
                connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await connection.send(b"GET " + path + b" HTTP/1.1\r\nHost: test\r\n\r\n")
                await until_closed(connection)
        gone.set()


class Writes:
    """A transport that remembers what was written at once."""

    def __init__(self, transport: Any, seen: list[bytes]) -> None:
        self._transport, self._seen = transport, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def writelines(self, pieces: list[bytes]) -> None:
        self._seen.append(b"".join(pieces))
        self._transport.writelines(pieces)


async def test_an_answer_of_known_length_is_written_at_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make, written = Exchange.__init__, []

    def recorded(self: Exchange, **arguments: Any) -> None:
        make(self, **arguments)
        self.transport = Writes(self.transport, written)  # type: ignore[assignment]

    monkeypatch.setattr(Exchange, "__init__", recorded)
    async with connected(port) as connection:
        for method in (b"GET", b"HEAD", b"GET"):
            await connection.send(method + b" /health HTTP/1.1\r\nHost: test\r\n\r\n")
            if method == b"HEAD":
                head, body = await connection.reader.readuntil(b"\r\n\r\n"), b""
            else:
                head, body = await connection.answer()
                assert body
            assert written.pop() == head + body
            assert not written


async def test_the_head_of_a_stream_does_not_wait_for_its_first_piece() -> None:
    read = asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await read.wait()
        await send({"type": "http.response.body", "body": b"piece"})

    async with listening(stream) as port, connected(port) as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        read.set()
        assert b"piece" in await connection.rest()


async def until_closed(connection: Connection, piece: bytes = b"\r\n") -> None:
    """Writing finds out that the other side is gone."""
    with suppress(ConnectionError):
        while True:
            await connection.send(piece)


def test_uvicorn_by_hand_chooses_it() -> None:
    config = uvicorn.Config("main:app")
    config.load_app()  # as its command does, before it chooses
    config.load()
    assert config.http_protocol_class is Protocol


@pytest.mark.parametrize("path", ["/messages", "/messages/x/retry", "/admin/users", "/api-keys", "/conversations"])
@pytest.mark.parametrize("token", ["", "Authorization: Bearer nonsense"])
async def test_who_has_no_credential_is_refused_before_the_body_arrives(port: int, path: str, token: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 16000\r\n{token}".rstrip() + "\r\n\r\n"
    async with connected(port) as connection:
        await connection.send(head.encode())
        assert (await connection.answer())[0].startswith(b"HTTP/1.1 401 ")
        # So little is still to come that its connection is kept.
        await connection.send(b"x" * 16_000 + b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await connection.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_the_connection_of_who_has_no_credential_ends_with_a_large_body(port: int) -> None:
    answer = await exchanged(port, b"POST /messages HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
    assert problem_of(answer)[0] == 401
