"""A receiver on loopback, and a resolver and a network that a test controls."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from ssl import SSLContext
from typing import Any

import httpcore2
import pytest

LOOPBACK = (ip_network("127.0.0.0/8"),)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def status(line: str, *headers: str, body: bytes = b"") -> Answer:
    """An answer with this status line, these headers and this body."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join((f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", *headers))
        writer.write(f"{head}\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


OK = status("200 OK")


@dataclass
class Received:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`arrived` is set when a connection was accepted, `done` when the last one has ended, whoever ended it.

    `error` is how the answer failed.
    """

    port: int = 0
    answer: Answer = OK
    received: list[Received] = field(default_factory=list)
    error: BaseException | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.done.clear()
        self.arrived.set()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = dict(one.split(": ", 1) for one in rest)
            body = await reader.readexactly(int(headers["Content-Length"]))
            self.received.append(Received(line, headers, body))
            await self.answer(writer)
            await reader.read()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.error = error
        finally:
            writer.transport.abort()
            self.done.set()


@asynccontextmanager
async def receiving(answer: Answer = OK, tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer=answer)
    async with await asyncio.start_server(receiver.accept, "127.0.0.1", 0, ssl=tls) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


@dataclass
class Resolver:
    """Answers for `names`: one list of addresses a look-up, the last from then on. `asked` holds the look-ups."""

    names: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)


@contextmanager
def resolving(names: dict[str, list[list[str]]]) -> Iterator[Resolver]:
    resolver = Resolver(names)
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if host not in names:
            return original(host, port, *args, **options)
        resolver.asked.append(host)
        answers = names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for address in addresses for found in original(address, port, *args, **options)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield resolver


@contextmanager
def connecting(port: int | None = None, broken: tuple[str, ...] = ()) -> Iterator[list[tuple[str, int]]]:
    """What the guard connects to, written down; the connection itself goes to `port` of loopback, if to anywhere."""
    connected: list[tuple[str, int]] = []
    original = httpcore2.AnyIOBackend.connect_tcp

    async def connect_tcp(self: Any, host: str, to: int, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        connected.append((host, to))
        if port is None or host in broken:
            raise httpcore2.ConnectError
        return await original(self, "127.0.0.1", port, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect_tcp)
        yield connected
