"""The lines of a streamed answer.

The SDKs could read them too, but Anthropic's takes minutes of the event loop for an endless event, and OpenAI's builds
a model with a dozen objects for every token.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from app.llm.failures import AnswerTooLarge

MAX_LINE = 2**20


async def lines_of(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines that are not empty. A line feed ends one; httpx would also split at U+2028, which JSON may hold."""
    line = bytearray()
    async for part in parts:
        *ended, rest = part.split(b"\n")
        for end in ended:
            line += end
            if line.strip():
                yield bytes(line)
            line.clear()
        line += rest
        if len(line) > MAX_LINE:
            raise AnswerTooLarge
    if line.strip():
        yield bytes(line)


def parsed(data: bytes) -> Any:
    """JSON, with a sign in place of what is no UTF-8: a character may be lost, and the answer is not."""
    return json.loads(data.decode(errors="replace"))


async def events_of(parts: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    """The data of server-sent events until `[DONE]`; each provider sends its JSON in one line, and its kind in it."""
    async with aclosing(lines_of(parts)) as lines:
        done = False
        async for line in lines:
            # What follows the end is read to its own end: only then can the connection be used again.
            if not done and line.startswith((b"data:", b"{")):
                # A server that knows no streams answers one with the whole, in a line of its own.
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    done = True
                elif data.startswith(b"{"):  # all else, and nothing, only shows that the server is there
                    yield parsed(data)
