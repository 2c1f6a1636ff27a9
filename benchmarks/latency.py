"""How evenly requests wait: under high concurrency, and beside a flood of logins; and what the openai SDK costs."""

import asyncio
import json

from sqlalchemy import URL

from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import PASSWORD, serving, token

OPENAI_ANSWER = json.dumps(
    {
        "id": "1", "object": "chat.completion", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()  # fmt: skip


async def run(url: URL) -> None:
    async with serving("main:app", url) as server:
        listing = request_bytes("GET", "/messages?limit=20", token())
        await load(server.port, listing, concurrency=32, seconds=1)
        times, failures = await load(server.port, listing, concurrency=256, seconds=4)
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        print("GET /messages at concurrency 256")
        print(f"  p50 {p50:.0f} ms, p99 {p99:.0f} ms, p99/p50 {p99 / p50:.2f}, failures {failures}")

        profile = request_bytes("GET", "/me", token())
        login = request_bytes("POST", "/login", body={"email": "user1@acme.com", "password": PASSWORD})
        idle, _ = await load(server.port, profile, concurrency=1, seconds=4)
        (busy, _), (logins, failures) = await asyncio.gather(
            load(server.port, profile, concurrency=1, seconds=6), load(server.port, login, concurrency=32, seconds=6)
        )
        print("GET /me beside 32 logins in flight (bcrypt, work factor 12)")
        print(
            f"  p99 idle {percentile(idle, 0.99):.1f} ms, flooded {percentile(busy, 0.99):.1f} ms; "
            f"{len(logins)} logins, failures {failures}"
        )
    await _sdk_cost(url)


async def _sdk_cost(url: URL) -> None:
    provider = await asyncio.start_server(_answer, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}/v1"
    send = request_bytes("POST", "/messages", token(), {"content": "Hello"})
    cost = {}
    for name, settings in {
        "mock": {},
        "openai": {"llm_provider": "openai", "openai_api_key": "none", "openai_base_url": base_url},
    }.items():
        async with serving("main:app", url, **settings) as server:
            await load(server.port, send, concurrency=8, count=20)
            before = server.cpu_seconds()
            times, failures = await load(server.port, send, concurrency=8, count=100)
            cost[name] = (server.cpu_seconds() - before) / len(times) * 1000
            assert failures == 0
    provider.close()
    print("CPU of the service a message")
    print(
        f"  mock {cost['mock']:.2f} ms, openai SDK {cost['openai']:.2f} ms, difference {cost['openai'] - cost['mock']:.2f} ms"
    )


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(OPENAI_ANSWER)
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(request.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(head + OPENAI_ANSWER)
    except asyncio.IncompleteReadError:
        writer.close()
