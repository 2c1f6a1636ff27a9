"""A client that costs little: keep-alive connections over plain sockets, one request at a time on each."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SLOWEST_SECONDS = 30.0


@dataclass(slots=True)
class Exchange:
    """A request as bytes, and what is known of it when its answer comes.

    `impatient`: hang up after so many seconds without an answer. `last`: the connection is not used again.
    """

    request: bytes
    about: Any = None
    impatient: float = 0.0
    last: bool = False


@dataclass(slots=True)
class Answer:
    """`status` 0: there was none, the connection ended."""

    status: int
    head: bytes
    body: bytes


NONE = Answer(0, b"", b"")
Source = Callable[[], Exchange | None]
Sink = Callable[[Exchange, Answer], None]


class Channel(asyncio.Protocol):
    """Sends what `source` gives until it gives nothing more; connects again where a connection ends."""

    def __init__(self, port: int, source: Source, sink: Sink) -> None:
        self._port, self._source, self._sink = port, source, sink
        self._exchange: Exchange | None = None
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = b""
        self.sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)

    def overdue(self) -> Exchange | None:
        """What has been waited for too long."""
        return self._exchange if self._exchange and time.monotonic() - self.sent > SLOWEST_SECONDS else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if self._exchange is None:
            try:
                self._exchange = self._source()
            except Exception as error:  # noqa: BLE001 - it ends the run
                self._fail(error)
                return
            if self._exchange is None:
                self._transport.close()
                if not self.done.done():
                    self.done.set_result(None)
                return
        self.sent = time.monotonic()
        self._transport.write(self._exchange.request)
        if self._exchange.impatient:
            self._timer = asyncio.get_running_loop().call_later(self._exchange.impatient, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        exchange = self._exchange
        if exchange is None:  # more than one answer: to requests that were smuggled into one
            self._buffer = b""
            return
        answer = complete(self._buffer, exchange.request)
        if answer is not None:
            self._answered(exchange, answer)

    def _answered(self, exchange: Exchange, answer: Answer) -> None:
        self._buffer = b""
        self._exchange = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        try:
            self._sink(exchange, answer)
        except Exception as error:  # noqa: BLE001 - it ends the run
            self._fail(error)
            return
        if exchange.last or b"\r\nconnection: close" in answer.head:
            self._transport.abort()
        else:
            self._next()

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        if self.done.done():
            return
        exchange = self._exchange
        if exchange is not None:
            head, separator, body = self._buffer.partition(b"\r\n\r\n")
            ended = Answer(int(head[9:12]), head, body) if separator and head[9:12].isdigit() else NONE
            self._exchange = None
            self._buffer = b""
            if self._timer:
                self._timer.cancel()
                self._timer = None
            try:
                self._sink(exchange, ended)
            except Exception as error:  # noqa: BLE001 - it ends the run
                self.done.set_exception(error)
                return
        self._reopening = asyncio.get_running_loop().create_task(self.open())


def complete(received: bytes, request: bytes) -> Answer | None:
    """The answer, once all of it is there."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return None
    status = int(head[9:12])
    if status < 200:  # 100 Continue
        return complete(body, request)
    if status in (204, 304) or request.startswith(b"HEAD"):
        return Answer(status, head, body)
    lower = head.lower()
    _, found, rest = lower.partition(b"content-length: ")
    if found:
        return Answer(status, head, body) if len(body) >= int(rest.split(b"\r\n", 1)[0]) else None
    if b"transfer-encoding: chunked" in lower:
        return Answer(status, head, body) if body.endswith(b"0\r\n\r\n") else None
    return None


async def drive(ports: Sequence[int], concurrency: int, source: Source, sink: Sink) -> None:
    """Send all that `source` gives; what `source` or `sink` raise ends it, and so does an answer that does not come."""
    channels = [Channel(ports[number % len(ports)], source, sink) for number in range(concurrency)]
    await asyncio.gather(*(channel.open() for channel in channels))
    watch = asyncio.create_task(_watch(channels))
    done = asyncio.gather(*(channel.done for channel in channels))
    try:
        await asyncio.wait([watch, done], return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            watch.result()
        await done
    finally:
        watch.cancel()
        done.cancel()


async def _watch(channels: list[Channel]) -> None:
    while True:
        await asyncio.sleep(SLOWEST_SECONDS / 6)
        for channel in channels:
            if (exchange := channel.overdue()) is not None:
                raise AssertionError(f"no answer in {SLOWEST_SECONDS:.0f} s to {exchange.request!r}")
