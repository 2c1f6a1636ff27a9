"""A load generator that costs little: keep-alive connections over plain sockets, in a process of its own."""

import asyncio
import json
import sys
import time
from multiprocessing import get_context
from typing import Any


def request_bytes(method: str, path: str, token: str = "", body: dict[str, Any] | None = None) -> bytes:
    content = json.dumps(body).encode() if body else b""
    head = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(content)}"]
    head += ["Content-Type: application/json"] if body else []
    head += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


class Connection(asyncio.Protocol):
    """Sends one request at a time and notes how long each answer took."""

    def __init__(self, request: bytes, deadline: float, count: int) -> None:
        self.request, self.deadline, self.left = request, deadline, count
        self.times: list[float] = []
        self.failures = 0
        self.buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._send()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.times.append(time.perf_counter() - self.sent)
        self.failures += not head.startswith(b"HTTP/1.1 2")
        self.buffer = b""
        self.left -= 1
        if self.left == 0 or time.perf_counter() > self.deadline:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.times or self.buffer:
            self.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def _load(port: int, request: bytes, concurrency: int, seconds: float, count: int) -> tuple[list[float], int]:
    loop, deadline = asyncio.get_running_loop(), time.perf_counter() + seconds
    connections = await asyncio.gather(
        *(
            loop.create_connection(lambda: Connection(request, deadline, count), "127.0.0.1", port)
            for _ in range(concurrency)
        )
    )
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    return [t for _, p in connections for t in p.times], sum(p.failures for _, p in connections)


def _main(pipe: Any, *arguments: Any) -> None:
    pipe.send(asyncio.run(_load(*arguments)))


async def load(
    port: int, request: bytes, *, concurrency: int, seconds: float = 1e9, count: int = 10**9
) -> tuple[list[float], int]:
    """The sorted times of all answers in seconds, and how many failed; from another process."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_main, args=(theirs, port, request, concurrency, seconds, count))
    process.start()
    times, failures = await asyncio.to_thread(ours.recv)
    process.join()
    return sorted(times), failures


def percentile(times: list[float], share: float) -> float:
    """In milliseconds."""
    return times[min(len(times) - 1, int(len(times) * share))] * 1000


if sys.platform == "win32":
    raise SystemExit("the benchmarks read /proc")
