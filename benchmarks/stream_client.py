"""Clients of streams that cost little: plain sockets in a process of its own, frames counted by their bytes."""

import asyncio
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands in the frames of an interface: once in each delta, in the first, before a text, and in the last.

    Without `text` no characters are counted. The first of `ends` is that of an answer that was completed.
    """

    delta: bytes = b"event: delta\n"
    first: bytes = b"event: message\n"
    text: bytes = b'data: {"text": "'
    ends: tuple[bytes, ...] = (b"event: completed\n", b"event: failed\n", b"event: cancelled\n")


MESSAGES = Marks()


@dataclass
class Stream:
    """What one client saw; times in seconds since it sent its request."""

    status: int = 0
    completed: bool = False
    first_event: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    deltas: int = 0
    characters: int = 0


class Client(asyncio.Protocol):
    def __init__(self, request: bytes, marks: Marks) -> None:
        self.request, self.stream, self.tail, self.ended = request, Stream(), b"", False
        self.marks = marks
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def begin(self) -> "asyncio.Future[None]":
        self.stream, self.tail, self.ended = Stream(), b"", False
        self.done = asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        self.transport.write(self.request)
        return self.done

    def data_received(self, data: bytes) -> None:
        now, data = time.perf_counter() - self.sent, self.tail + data
        cut = data.rfind(b"\n\n") + 2  # whole frames; the rest waits for more
        self.tail = data[cut:] if cut > 1 else data
        if cut > 1:
            self._read(data[:cut], now)
        refused = self.stream.status not in (0, 200)
        if not self.done.done() and (refused or (self.ended and self.tail.endswith(LAST_CHUNK))):
            self.done.set_result(None)

    def _read(self, data: bytes, now: float) -> None:
        stream, marks = self.stream, self.marks
        if not stream.status:
            stream.status = int(data[9:12])
        if not stream.first_event and marks.first in data:
            stream.first_event = now
        if deltas := data.count(marks.delta):
            stream.deltas += deltas
            stream.arrivals.append(now)
            for part in data.split(marks.text)[1:] if marks.text else ():
                stream.characters += part.index(b'"}')
        if any(end in data for end in marks.ends):
            self.ended, stream.completed = True, marks.ends[0] in data

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _run(
    port: int, request: bytes, marks: Marks, clients: int, rounds: int, stagger: float
) -> tuple[list[Stream], float]:
    loop, cpu = asyncio.get_running_loop(), time.process_time()
    seen: list[Stream] = []

    async def one(number: int) -> None:
        _, client = await loop.create_connection(lambda: Client(request, marks), "127.0.0.1", port)
        await asyncio.sleep(stagger * number / clients)
        for _ in range(rounds):
            await client.begin()
            seen.append(client.stream)
        client.transport.close()

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    return seen, (time.process_time() - cpu) / (time.perf_counter() - began)


def _main(pipe: Any, *arguments: Any) -> None:
    pipe.send(asyncio.run(_run(*arguments)))


async def streams(
    port: int, request: bytes, *, clients: int, rounds: int = 1, stagger: float = 0.0, marks: Marks = MESSAGES
) -> tuple[list[Stream], float]:
    """What all clients saw, and the share of a core that they took. `stagger`: over how many seconds they begin."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, port, request, marks, clients, rounds, stagger))
    process.start()
    result: tuple[list[Stream], float] = await asyncio.to_thread(ours.recv)
    process.join()
    return result
