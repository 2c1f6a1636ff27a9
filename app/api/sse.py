"""Server-Sent Events of a message: `message`, `citations`, what is said piece by piece, and how it ended."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.errors import problem_of
from app.core import items
from app.core.errors import AppError, InvalidPosition, provider_failure
from app.core.items import ReasoningDelta, TextDelta, ToolCallDelta
from app.core.lines import one_line
from app.messages.generation import Reader
from app.messages.stream import ENDED, Cited, Delta, End, Event, Position
from app.models import MessageStatus
from app.schemas.message import MessageCitations, MessageRead

HEARTBEAT = b": still here\n\n"
END = "end"
_ID = re.compile(r"([1-9][0-9]{0,8})-([0-9]{1,9}|end)")


class EventStream(Response):
    """Sends the events as they come. The reader is closed when the client is gone; the message goes on without it.

    Not a StreamingResponse: that has a task group around each stream, and tells nobody that its client left.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[Event], reader: Reader, heartbeat_seconds: float) -> None:
        self._events, self._reader, self._heartbeat_seconds = events, reader, heartbeat_seconds
        # A proxy that collects a response before handing it on would defeat the stream.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(self._close_when_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sent_at = time.monotonic()
            async for event in self._events:
                chunk = _encoded(scope, event)
                if not chunk and time.monotonic() - sent_at < self._heartbeat_seconds:
                    continue
                await send({"type": "http.response.body", "body": chunk or HEARTBEAT, "more_body": True})
                sent_at = time.monotonic()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watch.cancel()
            self._reader.close()
            await self._events.aclose()  # type: ignore[attr-defined]

    async def _close_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._reader.close()


def position_of(last_event_id: str | None) -> Position | None:
    """Where a client stands by the id of the last event that it saw; None: at the beginning.

    Raises:
        InvalidPosition: no event of ours has this id.
    """
    if last_event_id is None:
        return None
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise InvalidPosition
    return Position(int(found[1]), ENDED if found[2] == END else int(found[2]))


def _encoded(scope: Scope, event: Event) -> bytes:
    match event:
        case None:
            return b""
        case Cited(citations):
            return _frame("citations", MessageCitations(citations=citations).model_dump_json())
        case Delta(said, position):
            name, data = _said(said)
            return _frame(name, json.dumps(data, ensure_ascii=False), f"{position.attempt}-{position.offset}")
        case End(row, error, output):
            return _end(scope, row, error, output)
        case row:
            return _frame("message", MessageRead.model_validate(row).model_dump_json())


def _said(event: items.Delta) -> tuple[str, dict[str, Any]]:
    match event:
        case TextDelta(text):
            return "delta", {"text": text}
        case ReasoningDelta(text):
            return "reasoning", {"text": text}
        case ToolCallDelta(index, arguments, call_id, name):
            begun = {"id": call_id, "name": name} if name else {}
            return "tool_call", {"index": index, **begun, "arguments": arguments}


def _end(scope: Scope, row: Any, error: AppError | None, output: Sequence[items.Item]) -> bytes:
    if row is None or row.status == MessageStatus.FAILED:
        error = error or provider_failure(row.error_code, row.id)
        data = problem_of(scope, error).model_dump_json(exclude_none=True)
        return _frame("failed", data, f"{row.attempts}-{END}" if row else None)
    return _frame(row.status, MessageRead.of(row, output).model_dump_json(), f"{row.attempts}-{END}")


def _frame(name: str, data: str, event_id: str | None = None) -> bytes:
    identified = f"id: {event_id}\n" if event_id else ""
    return f"event: {name}\n{identified}data: {one_line(data)}\n\n".encode()
