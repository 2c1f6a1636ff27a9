"""A message whose provider is asked over HTTP: the service, and bare Starlette with aiohttp doing the same."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from benchmarks.environment import Postgres, serving
from benchmarks.throughput import CONCURRENCY, ROUNDS, SECONDS, compare

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "bench-1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "An answer. " * 20}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72},
}


class Provider(asyncio.Protocol):
    """Answers at once, for as little CPU as it can: what is measured is who asks."""

    body = json.dumps(ANSWER).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self.received = rest[length:]
            self.transport.write(self.answer)  # type: ignore[attr-defined]


async def run(url: URL) -> None:
    if shutil.which("wrk") is None:
        print("provider_over_http: skipped, wrk is not installed (apt-get install wrk)")
        return
    print(f"provider over HTTP: service / floor, {ROUNDS} interleaved rounds of {SECONDS} s, concurrency {CONCURRENCY}")
    postgres = await Postgres.of(url)
    with provider() as port:
        base = f"http://127.0.0.1:{port}/v1"
        settings = {"llm_provider": "openai", "openai_base_url": base, "openai_api_key": "none", "llm_model": "bench-1"}
        async with (
            serving("main:app", url, **settings) as service,
            serving("benchmarks.unguarded:app", url, provider_url=f"{base}/chat/completions") as unguarded,
        ):
            servers = {"service": service, "unguarded floor": unguarded}
            await compare("POST /messages", "POST", "/messages", servers, postgres)


@contextmanager
def provider() -> Iterator[int]:
    """The port of one, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.provider_over_http"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
