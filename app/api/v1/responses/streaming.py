"""A response's events as they go out."""

from starlette.types import Scope

from app.api.v1.responses.events import ResponseEvents
from app.api.v1.stream import error_body
from app.core.errors import AppError
from app.messages.stream import Cited, Delta, End, Event


class ResponsesEncoder:
    """See `app/api/v1/stream.py`: bytes of frames for each event of a message."""

    def __init__(self, events: ResponseEvents, scope: Scope) -> None:
        self._events = events
        self._scope = scope

    def encode(self, event: Event) -> bytes:
        match event:
            case None | Cited():
                return b""
            case Delta(delta):
                return b"".join(self._events.delta(delta))
            case End():
                return self._end(event)
            case row:
                return b"".join(self._events.begin(row))

    def failed(self, error: AppError, end: End) -> bytes:
        if end.row is None:
            return b"".join(self._events.fail(error_body(self._scope, error)))
        return self._end(end, error)

    def _end(self, end: End, error: AppError | None = None) -> bytes:
        assert end.row is not None
        return b"".join(self._events.end(end.row, end.output, error))
