"""The application behind a socket of this process, and clients that write it bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.server import Protocol
from tests.serving import listening_to
from tests.waiting import patience


@asynccontextmanager
async def listening(app: Any, **bounds: float) -> AsyncIterator[int]:
    """Its port; `bounds` replace those of the protocol."""
    kind = type("Bounded", (Protocol,), bounds)
    async with listening_to(app, http=kind, lifespan="off") as port:
        yield port


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own: the server has read one before the next is sent."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await self.reader.read()

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of one answer with a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head, await self.reader.readexactly(int(length))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    async with patience("what a connection is to bring"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()


async def exchanged(port: int, *pieces: bytes) -> bytes:
    """All that a client which sends these pieces is answered, until the server closes."""
    async with connected(port) as connection:
        await connection.send(*pieces)
        return await connection.rest()
