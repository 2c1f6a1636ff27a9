"""A provider on loopback that speaks the OpenAI wire format, or whatever a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


@dataclass
class Loopback:
    """`requests` holds (headers, body) of each call; `handler` may be replaced by a test."""

    base_url: str = ""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    handler: Handler | None = None
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
                self.requests.append((headers, body))
                assert self.handler is not None
                status, extra, content = await self.handler(body)
                out = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", "content-type: application/json"]
                out += [f"{name}: {value}" for name, value in extra.items()]
                writer.write("\r\n".join(out).encode() + b"\r\n\r\n" + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


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
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0, limit=2**20)
    provider.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.close()
        for task in provider.tasks:
            task.cancel()
        await asyncio.gather(*provider.tasks, return_exceptions=True)
