"""A request and its answer on a connection."""

import socket
import struct
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

# What a client may still send of a body that is of no use any more, for its connection to be kept.
SMALL_BODY_BYTES = 65_536
WITHOUT_BODY = (204, 304)


class Outflow:
    """How much of what was `written` to a connection its reader has taken; a trickle counts as nothing."""

    LEAST_BYTES = 16_384

    def __init__(self, now: float) -> None:
        self.written = 0
        self._taken = 0
        self._since = now

    def silence(self, unsent: int, now: float) -> float:
        """For how many seconds the reader has taken nothing of the `unsent` bytes that wait for it."""
        taken = self.written - unsent
        if not unsent or taken >= self._taken + self.LEAST_BYTES:
            self._taken, self._since = taken, now
        return now - self._since


class Exchange(RequestResponseCycle):
    """uvicorn's cycle; its answers also fit HTTP/1.0, and a body that does not arrive can be given up."""

    def __init__(self, *, outflow: Outflow, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._outflow = outflow
        self.given_up = False
        self._until_closed = False
        self._head = b""

    def give_up(self, status: int) -> None:
        """Do not wait for the rest of the body: who reads it hears of a disconnect, and finds the status in `state`."""
        self.scope["state"]["refusal"] = status
        self.given_up, self.keep_alive = True, False
        self.message_event.set()

    async def receive(self) -> ASGIReceiveEvent:
        if not self.given_up:
            message = await super().receive()
        return {"type": "http.disconnect"} if self.given_up else message

    async def run_asgi(self, app: Any) -> None:
        await super().run_asgi(app)
        if self._until_closed and not self.response_complete:
            # Its end is the connection's: only a reset tells that this was not the whole of it.
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self._write_head(message["status"], [*self.default_headers, *message.get("headers", ())])
            # A body of known length follows at once, and goes in the same packet; a stream's may take its time.
            if not self.expected_content_length:
                self._write(b"")
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}")

    def _write_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue, unasked = False, self.waiting_for_100_continue
        if self.more_body and (unasked or not self._rest_is_small()):
            self.keep_alive = False
        closes = False
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive, closes = False, True
        if not self.keep_alive and not closes:
            headers.append((b"connection", b"close"))
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in WITHOUT_BODY:
            if self.scope["http_version"] == "1.1":
                self.chunked_encoding = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self._until_closed = True
        lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        if not lines.count(b"\r") == lines.count(b"\n") == lines.count(b"\r\n") == len(headers) or b"\0" in lines:
            raise RuntimeError("A header of the answer holds a line break")
        self._head = STATUS_LINE[status] + lines + b"\r\n"
        if self.access_log:
            self._log_access(status)

    def _rest_is_small(self) -> bool:
        declared = dict(self.scope["headers"]).get(b"content-length", b"")
        return declared.isdigit() and len(declared) < 10 and int(declared) <= SMALL_BODY_BYTES

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self._write(b"")
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._write(framed if more else framed + b"0\r\n\r\n")
        else:
            if not self._until_closed:
                self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The answer is longer than its Content-Length")
            self._write(body)
        if not more:
            if self.expected_content_length:
                raise RuntimeError("The answer is shorter than its Content-Length")
            self.response_complete = True
            self.message_event.set()
            self.on_response()

    def _write(self, data: bytes) -> None:
        """Write it after the head, if that was not written yet."""
        pieces = [piece for piece in (self._head, data) if piece]
        self._head = b""
        if pieces:
            self._outflow.written += sum(map(len, pieces))
            self.transport.writelines(pieces)

    def _log_access(self, status: int) -> None:
        self.access_logger.info(
            '%s - "%s %s HTTP/%s" %d',
            get_client_addr(self.scope),
            self.scope["method"],
            get_path_with_query_string(self.scope),
            self.scope["http_version"],
            status,
        )
