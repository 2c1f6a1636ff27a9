"""One tenant at full tilt on its dearest requests: how long another's `/me` takes, alone and beside it."""

import asyncio

from sqlalchemy import URL

from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import serving, token

SECONDS, CONCURRENCY, READS = 5, 32, 300
GOAL_MILLISECONDS = 100
DEAREST = ("/messages?q=zzzq&limit=100", "/messages?skip=10000&limit=100", "/usage")


async def run(url: URL) -> None:
    print(
        f"GET /me of one tenant while another sends at concurrency {CONCURRENCY}; goal: p99 under {GOAL_MILLISECONDS} ms"
    )
    me = request_bytes("GET", "/me", token(2))
    async with serving("main:app", url) as server:
        await load(server.port, me, concurrency=1, count=20)
        alone, _ = await load(server.port, me, concurrency=1, count=READS)
        _print("alone", alone)
        for path in DEAREST:
            flood = request_bytes("GET", path, token(1))
            flooding = asyncio.create_task(load(server.port, flood, concurrency=CONCURRENCY, seconds=SECONDS))
            await asyncio.sleep(1)
            beside, failed = await load(server.port, me, concurrency=1, count=READS, seconds=SECONDS)
            await flooding
            _print(path, beside)
            if failed:
                print(f"    {failed} failed")


def _print(name: str, times: list[float]) -> None:
    print(f"  {name:<34} p50 {percentile(times, 0.5):7.1f} ms   p99 {percentile(times, 0.99):7.1f} ms")
