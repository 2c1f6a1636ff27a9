"""A connection: reads requests as uvicorn does, within bounds of bytes and time."""

import asyncio
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.core.config import get_settings
from app.server.exchange import Exchange, Outflow
from app.server.watch import TICK_SECONDS, watch_of

# Of an offer to change the protocol, which is not taken (RFC 9110, 7.8).
OFFER = (b"upgrade", b"http2-settings")

VERSIONS = ("1.0", "1.1")


class Reading(Enum):
    """What is expected of the client. LINGERING: nothing of use; what it still sends is dropped."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()
    LINGERING = auto()


class Protocol(HttpToolsProtocol):
    """Refuses a head that is too large or too late, gives up a body that is late, cuts off a reader that does not read.

    What cannot be read is answered by the application: it finds a status under `refusal` in the state of the request.
    """

    MAX_HEAD_BYTES = 65_536
    MAX_HEADERS = 100
    MAX_URL_BYTES = 8_192
    MAX_LINGER_BYTES = 128 * 1024 * 1024
    HEAD_SECONDS = 10.0
    BODY_SECONDS = 30.0
    WRITE_SECONDS = 30.0
    LINGER_SECONDS = 30.0
    LINGER_SILENCE_SECONDS = 5.0
    TICK_SECONDS = TICK_SECONDS

    cycle: Exchange

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._keep_alive_seconds = get_settings().keep_alive_seconds
        self._watch = watch_of(server_state, self.loop, self.TICK_SECONDS)
        self._reading = Reading.NOTHING
        self._since = self._heard = self.loop.time()
        self._outflow = Outflow(self._since)
        self._undelivered = 0  # bytes that the parser has taken since it last gave something whole
        self._fields = 0  # headers and trailers of the request
        self._lingered = 0
        self._refusal = 0
        self._answering: Exchange | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._reading is Reading.NOTHING:
            self._reading, self._since = Reading.HEAD, self.loop.time()
        while data and self._reading is not Reading.LINGERING:
            piece = data[: self.MAX_HEAD_BYTES - self._undelivered]
            data = data[len(piece) :]
            self._undelivered += len(piece)
            self._parse(piece)
            if self._undelivered >= self.MAX_HEAD_BYTES:
                self._refuse(431)
        if data:
            self._heard = self.loop.time()
            self._lingered += len(data)
            if self._lingered > self.MAX_LINGER_BYTES:
                self.transport.abort()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._parse_without_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or 400)

    def _parse_without_offer(self, rest: bytes) -> None:
        """Read the head again without its `Upgrade`: the parser leaves everything after it to the protocol offered."""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in OFFER]
                lines.append(b"connection:" + b",".join(kept))
            elif name not in OFFER:
                lines.append(name + b":" + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = 0
        if self._reading is Reading.NOTHING:  # it came in one piece with the request before it
            self._reading, self._since = Reading.HEAD, self.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.MAX_URL_BYTES:
            self._fail(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > self.MAX_HEADERS:
            self._fail(431)
        if self._reading is not Reading.HEAD:  # a trailer is no header: nobody has looked at what it says
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _fail(self, status: int) -> None:
        """Leave the parser from inside of one of its callbacks."""
        self._refusal = status
        raise ValueError

    def on_headers_complete(self) -> None:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if version not in VERSIONS or method == b"CONNECT":
            self._fail(400)
        if self.parser.should_upgrade():
            return
        target = httptools.parse_url(self.url)
        raw_path = target.path or b"/"
        path = raw_path.decode("ascii")
        scope = self.scope
        scope["method"], scope["http_version"] = method.decode("ascii"), version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = target.query or b""
        self._reading, self._since, self._undelivered = Reading.BODY, self.loop.time(), 0
        self._begin(keep_alive=version != "1.0" and self.parser.should_keep_alive())

    def _begin(self, *, keep_alive: bool) -> None:
        """Start the application on what `scope` holds, or let it wait for the answers before it."""
        before = self.cycle
        self.cycle = Exchange(
            outflow=self._outflow,
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and self.scope["http_version"] != "1.0",
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        app = service_unavailable if self._is_crowded() else self.app
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def _is_crowded(self) -> bool:
        limit = self.limit_concurrency
        return limit is not None and max(len(self.connections), len(self.tasks)) >= limit

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        assert isinstance(cycle, Exchange)
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._undelivered = 0
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._reading is not Reading.BODY:  # an offer: its head is read again
            return
        self._undelivered = 0
        self._reading, self._since = Reading.NOTHING, self.loop.time()
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        assert self._answering is not None
        self.flow.resume_reading()
        if not self._answering.keep_alive:
            if self._answering.more_body:
                self._linger()
            else:
                self.transport.close()
        elif self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._reading is not Reading.BODY:
            self._since = self.loop.time()

    def _refuse(self, status: int) -> None:
        """End the reading for good; the application answers with `status` what is not answered yet."""
        self._undelivered = 0
        in_body = self._reading is Reading.BODY
        self._reading = Reading.LINGERING
        if not in_body:
            super().on_message_begin()
            scope = self.scope
            scope["method"], scope["path"], scope["raw_path"], scope["query_string"] = "-", "/", b"/", b""
            scope["state"]["refusal"] = status
            self._begin(keep_alive=False)
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.give_up(status)

    def _linger(self) -> None:
        """Let the client read the answer: closing while it still sends would take the answer away from it."""
        self._reading = Reading.LINGERING
        self._since = self._heard = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def look(self, now: float) -> None:
        """End what has taken too long by `now`."""
        if self._outflow.silence(self.transport.get_write_buffer_size(), now) >= self.WRITE_SECONDS:
            self.transport.abort()
        if self.transport.is_closing():
            return
        answered = self.cycle is None or self.cycle.response_complete
        waited = now - self._since
        if self._reading is Reading.BODY:
            self._look_at_body(now, waited)
        elif not answered:
            return
        elif self._reading is Reading.LINGERING:
            if waited >= self.LINGER_SECONDS or now - self._heard >= self.LINGER_SILENCE_SECONDS:
                self.transport.abort()
        elif self._reading is Reading.HEAD:
            if waited >= self.HEAD_SECONDS:
                self._refuse(408)
        elif waited >= self._keep_alive_seconds:
            self.transport.close()

    def _look_at_body(self, now: float, waited: float) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._since = now
        elif waited >= self.BODY_SECONDS:
            self._refuse(408)
