"""A provider that speaks chat completions, misbehaves at times, and keeps a bill of its own.

It bills whole answers, and of a stream what it read and each token that it sent, whoever was there to hear it.
"""

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

INPUT_PRICE, OUTPUT_PRICE = 10_000, 40_000
"""Micro-USD for a thousand tokens: dear, so that a dollar is soon spent."""
WORDS = 60
TOKEN_SECONDS = 0.01


@dataclass
class Line:
    """A call on the bill, in tokens."""

    id: str
    at: datetime
    read: int
    wrote: int = 0

    @property
    def micro_usd(self) -> float:
        return (self.read * INPUT_PRICE + self.wrote * OUTPUT_PRICE) / 1000


class Upstream:
    """`kinds`: how often each way of answering was taken."""

    def __init__(self, seed: int) -> None:
        self.lines: list[Line] = []
        self.calls = 0
        self.kinds: Counter[str] = Counter()
        self._dice = random.Random(seed)

    @property
    def micro_usd(self) -> float:
        return sum(line.micro_usd for line in self.lines)

    def bill(self) -> str:
        """A line of JSON for each call that is billed."""
        lines = [
            {
                "id": line.id,
                "at": line.at.isoformat(),
                "model": "fake-1",
                "input_tokens": line.read,
                "output_tokens": line.wrote,
                "cost_micro_usd": line.micro_usd,
            }
            for line in self.lines
        ]
        return "".join(json.dumps(line) + "\n" for line in lines)

    def _kind(self) -> str:
        return self._dice.choices(["answers", "refuses", "breaks"], [85, 8, 7])[0]

    def _bill(self, read: int, wrote: int = 0) -> Line:
        self.lines.append(Line(f"req_{len(self.lines) + 1}", datetime.now(UTC), read, wrote))
        return self.lines[-1]

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.calls += 1
        kind = self._kind()
        if kind == "refuses":
            self.kinds[kind] += 1
            return JSONResponse({"error": {"message": "overloaded"}}, 503)
        read = max(1, len(json.dumps(body["messages"])) // 4)
        calls_tool = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
        pieces = _tool_call() if calls_tool else _text(min(WORDS, body.get("max_tokens", WORDS)))
        self.kinds[f"{kind} {'tool' if calls_tool else 'text'}"] += 1
        if kind == "breaks":
            pieces = pieces[: len(pieces) // 2]
        if body.get("stream"):
            counts = bool(body.get("stream_options", {}).get("include_usage"))
            return StreamingResponse(self._stream(pieces, read, kind, counts=counts), media_type="text/event-stream")
        await asyncio.sleep(TOKEN_SECONDS * len(pieces))
        if kind == "breaks":
            return JSONResponse({"error": {"message": "lost it"}}, 500)
        self._bill(read, len(pieces))
        return JSONResponse(_whole(pieces, read, calls_tool=calls_tool))

    async def _stream(self, pieces: list[dict[str, Any]], read: int, kind: str, *, counts: bool) -> AsyncIterator[str]:
        line = self._bill(read)
        for piece in pieces:
            line.wrote += 1
            yield _chunk(choices=[{"index": 0, "delta": piece, "finish_reason": None}])
            await asyncio.sleep(TOKEN_SECONDS)
        if kind == "breaks":
            yield _chunk(error={"message": "lost it", "code": 500})
            return
        reason = "tool_calls" if "tool_calls" in pieces[0] else "stop"
        yield _chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])
        if counts:
            yield _chunk(choices=[], usage=_usage(read, len(pieces)))
        yield "data: [DONE]\n\n"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its base URL."""
        app = Starlette(routes=[Route("/v1/chat/completions", self.complete, methods=["POST"])])
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1024)
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
            task = asyncio.create_task(server.serve([listening]))
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
            finally:
                server.should_exit = True
                await task


def _text(words: int) -> list[dict[str, Any]]:
    return [{"content": f"word{number} "} for number in range(words)]


def _tool_call() -> list[dict[str, Any]]:
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    arguments = ['{"city"', ": ", '"Oslo"', "}"]
    return [{"tool_calls": [begun]}] + [
        {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in arguments
    ]


def _whole(pieces: list[dict[str, Any]], read: int, *, calls_tool: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if calls_tool:
        function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    else:
        message["content"] = "".join(piece["content"] for piece in pieces)
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls_tool else "stop"}
    return {"id": "x", "model": "fake-1", "choices": [choice], "usage": _usage(read, len(pieces))}


def _usage(read: int, wrote: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def _chunk(**fields: Any) -> str:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "fake-1", **fields}
    return f"data: {json.dumps(chunk)}\n\n"
