"""A thousand messages at once to a provider that takes two seconds, on a pool of ten connections."""

import asyncio
import time

import asyncpg
from sqlalchemy import URL

from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import Server, dsn, serving, token

MESSAGES, LATENCY_SECONDS, POOL = 1000, 2, 10
WAITING = (
    "SELECT count(*) FILTER (WHERE state LIKE 'idle in transaction%' AND now() - state_change > interval '0.5 s'), "
    "count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def run(url: URL) -> None:
    print(f"{MESSAGES:,} concurrent POST /messages, provider {LATENCY_SECONDS} s, pool {POOL}")
    settings = {"llm_mock_latency_seconds": str(LATENCY_SECONDS), "db_pool_size": str(POOL)}
    async with serving("main:app", url, **settings) as server:
        send = request_bytes("POST", "/messages", token(), {"content": "Hello"})
        profile = request_bytes("GET", "/me", token())
        await load(server.port, profile, concurrency=POOL, seconds=1)
        before = server.memory()
        watch = asyncio.create_task(_watch(url, server))
        started = time.perf_counter()
        (times, failures), (me, me_failures) = await asyncio.gather(
            load(server.port, send, concurrency=MESSAGES, count=1), load(server.port, profile, concurrency=1, seconds=3)
        )
        watch.cancel()
        idle, memory = (await asyncio.gather(watch, return_exceptions=True))[0] or (0, 0)
    print(
        f"  last answer after          {times[-1]:.2f} s (wall with client start {time.perf_counter() - started:.2f} s)"
    )
    print(f"  failures                   {failures + me_failures} of {len(times)}")
    print(f"  idle in transaction        {idle} at most (over 0.5 s)")
    print(f"  memory growth              {(memory - before) / 2**20:.0f} MiB")
    print(f"  GET /me meanwhile          p99 {percentile(me, 0.99):.0f} ms, slowest {me[-1] * 1000:.0f} ms")


async def _watch(url: URL, server: Server) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn(url))
    idle = memory = 0
    try:
        while True:
            idle = max(idle, (await connection.fetchrow(WAITING))[0])
            memory = max(memory, server.memory())
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return idle, memory
    finally:
        await connection.close()
