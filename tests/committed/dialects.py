"""A stream as each of the interfaces has it, of which a client reads no more than the text."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.helpers import Member

HELLO = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Dialect:
    """`text` is what an event says, None for one that says nothing; `last` stands in the event that ends an answer."""

    path: str
    body: dict[str, Any]
    text: Callable[[dict[str, Any]], str | None]
    last: str
    stored: bool

    def __str__(self) -> str:
        return self.path


def _of_chat(event: dict[str, Any]) -> str | None:
    choices = event["choices"]
    return choices[0]["delta"].get("content") or None if choices else None


DIALECTS = {
    "messages": Dialect(
        "/messages", {"content": "Hello"}, lambda event: event.get("text"), '"status":"completed"', True
    ),
    "chat": Dialect("/v1/chat/completions", {"messages": HELLO}, _of_chat, "[DONE]", False),
    "responses": Dialect(
        "/v1/responses",
        {"input": "Hello"},
        lambda event: event["delta"] if event["type"] == "response.output_text.delta" else None,
        '"response.completed"',
        True,
    ),
    "anthropic": Dialect(
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 50},
        lambda event: event["delta"]["text"] if event["type"] == "content_block_delta" else None,
        '"message_stop"',
        False,
    ),
}


@dataclass
class Reading:
    """`whole`: the answer came to its end."""

    dialect: Dialect
    lines: AsyncIterator[str]
    pieces: list[str] = field(default_factory=list)
    whole: bool = False

    async def piece(self) -> str:
        """The next; "" at the end."""
        async for line in self.lines:
            if not line.startswith("data: "):
                continue
            data = line.removeprefix("data: ")
            self.whole = self.whole or self.dialect.last in data
            text = self.dialect.text(json.loads(data)) if data != "[DONE]" else None
            if text:
                self.pieces.append(text)
                return text
        return ""

    async def rest(self) -> str:
        """All that was read, once it ended."""
        while await self.piece():
            pass
        return "".join(self.pieces)


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, member: Member, dialect: Dialect, **options: Any
) -> AsyncIterator[Reading]:
    body = {**dialect.body, "stream": True, **options}
    async with client.stream("POST", dialect.path, json=body, headers=member.headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reading(dialect, response.aiter_lines())
