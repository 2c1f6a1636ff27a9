"""A message's events as another protocol streams them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.errors import problem_of
from app.api.v1.errors import fault_of, openai
from app.core.errors import AppError, provider_failure
from app.messages.generation import Reader
from app.messages.stream import End, Event
from app.models import MessageStatus

KEEP_ALIVE = b": keep-alive\n\n"
# Before the first piece of an answer nobody may wait longer for a byte; until then a failure has its status.
SILENT_SECONDS = 2.0


class Encoder(Protocol):
    """Both give the bytes of frames; none where there is nothing to say."""

    def encode(self, event: Event) -> bytes:
        """Any event but None, and but the end of a message that failed."""

    def failed(self, error: AppError, end: End) -> bytes:
        """After the first byte."""


class DialectStream(Response):
    """Each event goes out as it comes. The head waits for the first, so that what fails before it has its own status.

    The reader is closed when the client is gone.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        reader: Reader,
        encoder: Encoder,
        heartbeat_seconds: float,
    ) -> None:
        self._events, self._reader, self._encoder = events, reader, encoder
        self._heartbeat_seconds = heartbeat_seconds
        self._begun = False
        # A proxy that collects a response before handing it on would defeat the stream.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(self._close_when_gone(receive))
        try:
            await self._send_all(scope, send)
        finally:
            watch.cancel()
            self._reader.close()
            await self._events.aclose()  # type: ignore[attr-defined]

    async def _send_all(self, scope: Scope, send: Send) -> None:
        sent_at = time.monotonic()
        async for event in self._events:
            patience = self._heartbeat_seconds if self._begun else SILENT_SECONDS
            if event is not None:
                chunk = self._encoded(event, scope["state"])
            else:
                chunk = KEEP_ALIVE if time.monotonic() - sent_at >= patience else b""
            if chunk:
                await self._begin(send)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sent_at = time.monotonic()
        await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    def _encoded(self, event: Event, state: dict[str, Any]) -> bytes:
        if not isinstance(event, End) or (error := failure_of(event)) is None:
            return self._encoder.encode(event)
        if self._begun:
            return self._encoder.failed(error, event)
        state["billed"] = is_billed(event.row)
        raise error

    async def _close_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._reader.close()


def failure_of(end: End) -> AppError | None:
    """Why it failed; None if it did not."""
    if end.row is None:
        return end.error or AppError()
    if end.row.status != MessageStatus.FAILED:
        return None
    return end.error or provider_failure(end.row.error_code, end.row.id)


def is_billed(row: Any) -> bool:
    """Whether a provider has counted something for it: a client that sends it again pays again."""
    return row is not None and bool(row.output_tokens or row.input_tokens)


def error_body(scope: Scope, error: AppError) -> dict[str, Any]:
    """An error as it stands within a stream, or within an object: `message`, `type`, `param`, `code`."""
    body: dict[str, Any] = openai(fault_of(scope, problem_of(scope, error), error))["error"]
    return body
