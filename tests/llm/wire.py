"""The three wire formats: how each adapter is made, and what its server sends for the same answer.

Each answers with the model `tiny-1`, 7 tokens in, of them 4 cached, and 5 out (Ollama does not tell what it cached).
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.core.items import Message
from app.llm.anthropic import AnthropicProvider
from app.llm.base import CallLimits, LLMProvider
from app.llm.ollama import OllamaProvider
from app.llm.openai_compatible import OpenAICompatibleProvider
from tests.llm.loopback import Answer, Handler, Loopback, completion, loopback

KEY = "sk-very-secret-key"
TURNS = [Message("system", "Be brief."), Message("user", "What is async Python?")]
OPENAI_USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
}


@dataclass(frozen=True)
class Wire:
    """`chunks` are the pieces of a streamed answer and, in the last one, its end."""

    name: str
    make: Callable[[str, float, int], LLMProvider]
    whole: Callable[[Any], bytes]
    chunks: Callable[[list[str]], list[bytes]]
    cached_tokens: int | None

    def __str__(self) -> str:
        return self.name


def limits(seconds: float = 5, retries: int = 0) -> CallLimits:
    return CallLimits(seconds, seconds, retries, 100)


def sse(*data: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in data)


def openai_chunk(delta: dict[str, Any], reason: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        "usage": None,
        **changes,
    }


def openai_chunks(pieces: list[str]) -> list[bytes]:
    end = sse(openai_chunk({}, "stop"), openai_chunk({}, choices=[], usage=OPENAI_USAGE)) + b"data: [DONE]\n\n"
    return [*(sse(openai_chunk({"content": piece})) for piece in pieces), end]


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + sse({"type": kind, **fields})


def anthropic_message(content: list[dict[str, Any]], reason: str | None = "end_turn", **usage: int) -> dict[str, Any]:
    counts = {"input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 5}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "tiny-1",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {**counts, **usage},
    }


def anthropic_start() -> bytes:
    block = {"type": "text", "text": ""}
    return (
        event("message_start", message=anthropic_message([], None, output_tokens=1))
        + event("content_block_start", index=0, content_block=block)
        + event("ping")
    )


def anthropic_text(piece: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})


def anthropic_end(reason: str = "end_turn") -> bytes:
    return (
        event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 5})
        + event("message_stop")
    )


def anthropic_chunks(pieces: list[str]) -> list[bytes]:
    texts = [anthropic_text(piece) for piece in pieces]
    return [anthropic_start() + texts[0], *texts[1:], anthropic_end()]


def ollama_line(text: Any, done: bool = False, **changes: Any) -> bytes:
    body = {"model": "tiny-1", "message": {"role": "assistant", "content": text}, "done": done, **changes}
    return json.dumps(body).encode() + b"\n"


def ollama_end(text: Any = "") -> bytes:
    return ollama_line(text, True, done_reason="stop", prompt_eval_count=7, eval_count=5)


OPENAI = Wire(
    "openai",
    lambda url, seconds, retries: OpenAICompatibleProvider(KEY, url, "tiny", limits(seconds, retries)),
    lambda text: completion(text, usage=OPENAI_USAGE)[2],  # type: ignore[arg-type, return-value]
    openai_chunks,
    4,
)
ANTHROPIC = Wire(
    "anthropic",
    lambda url, seconds, retries: AnthropicProvider(KEY, url, "tiny", limits(seconds, retries)),
    lambda text: json.dumps(anthropic_message([{"type": "text", "text": text}])).encode(),
    anthropic_chunks,
    4,
)
OLLAMA = Wire(
    "ollama",
    lambda url, seconds, retries: OllamaProvider(url, "tiny", limits(seconds, retries), 4096),
    ollama_end,
    lambda pieces: [*(ollama_line(piece) for piece in pieces), ollama_end()],
    None,
)
WIRES = (OPENAI, ANTHROPIC, OLLAMA)


async def chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def streamed(parts: Iterable[bytes]) -> Answer:
    return 200, {"content-type": "text/event-stream"}, chunks(parts)


@asynccontextmanager
async def served(
    wire: Wire, answer: Callable[[], Answer], seconds: float = 5, retries: int = 0
) -> AsyncIterator[tuple[LLMProvider, Loopback]]:
    async def handler(_: dict[str, Any]) -> Answer:
        return answer()

    async with served_by(wire, handler, seconds, retries) as both:
        yield both


@asynccontextmanager
async def served_by(
    wire: Wire, handler: Handler, seconds: float = 5, retries: int = 0
) -> AsyncIterator[tuple[LLMProvider, Loopback]]:
    async with loopback(handler) as server:
        provider = wire.make(server.base_url, seconds, retries)
        try:
            yield provider, server
        finally:
            await provider.close()
