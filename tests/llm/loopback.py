"""A provider on loopback that answers what a test tells it to: whole, in chunks, cut in half, or never."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], bytes | AsyncIterator[bytes]]
"""Status, headers, body. A body of chunks may wait for what it likes, and raise `Cut` to break the connection off."""

Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


class Cut(Exception):
    """The connection breaks off here."""


@dataclass
class Loopback:
    """`requests` holds (headers, body) of each call; `sent` counts the bytes of bodies.

    `client_gone` is set when a client closed its connection before its answer had ended.
    """

    base_url: str = ""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    handler: Handler | None = None
    sent: int = 0
    client_gone: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.paths.append(lines[0].split(" ")[1])
                self.requests.append((headers, body))
                if not await self.unless_gone(self.answer(writer, body), reader):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, Cut):
            pass
        finally:
            writer.close()

    async def unless_gone(self, answer: Awaitable[None], reader: asyncio.StreamReader) -> bool:
        """Answer; False if the client closed its connection first."""
        answering, gone = asyncio.ensure_future(answer), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.client_gone.set()
                return False
            await answering
        except ConnectionError:
            self.client_gone.set()
            raise
        else:
            return True
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    async def answer(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        assert self.handler is not None
        status, extra, content = await self.handler(body)
        out = [f"HTTP/1.1 {status} X"]
        if isinstance(content, bytes):
            out.append(f"content-length: {len(content)}")
        elif "content-length" not in extra:
            out.append("transfer-encoding: chunked")
        out += [f"{name}: {value}" for name, value in ({"content-type": "application/json"} | extra).items()]
        writer.write("\r\n".join(out).encode() + b"\r\n\r\n")
        if isinstance(content, bytes):
            writer.write(content)
        else:
            async for chunk in content:
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                await writer.drain()
                self.sent += len(chunk)
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def completion(text: Any, **changes: Any) -> Answer:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        **changes,
    }
    return 200, {}, json.dumps(body).encode()


def problem(status: int, message: str = "no", **headers: str) -> Answer:
    return status, headers, json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode()


@asynccontextmanager
async def loopback(handler: Handler) -> AsyncIterator[Loopback]:
    provider = Loopback(handler=handler)
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0, limit=2**20, backlog=1024)
    provider.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.close()
        for task in provider.tasks:
            task.cancel()
        await asyncio.gather(*provider.tasks, return_exceptions=True)
