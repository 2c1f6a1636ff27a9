"""What an answer that was kept costs, against one that is asked for, `GET /me`, and a service without a cache.

The mock takes 50 ms to answer, where that matters; sides take turns in short rounds, and the figure is their ratio.
"""

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import URL

from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import Server, dsn, free_port, principal, serving, token, until_open

ROUNDS, CONCURRENCY, PROMPT_MS = 5, 4, 50
KEEP = "UPDATE tenants SET cache_ttl_seconds = 3600, cache_epoch = 'bench' WHERE id = $1"
FORGET = "UPDATE tenants SET cache_ttl_seconds = NULL WHERE id = $1"


async def run(url: URL) -> None:
    if shutil.which("redis-server") is None:
        print("response cache: skipped, Redis is not installed (apt-get install redis-server)")
        return
    connection = await asyncpg.connect(dsn(url))
    await connection.execute(KEEP, principal().tenant_id)
    try:
        async with _redis() as redis_url:
            await _hits(url, redis_url)
            await _misses(url, redis_url)
    finally:
        await connection.execute(FORGET, principal().tenant_id)
        await connection.close()


async def _hits(url: URL, redis_url: str) -> None:
    latency = {"llm_mock_latency_seconds": str(PROMPT_MS / 1000)}
    hit, profile = (
        request_bytes("POST", "/messages", token(), {"content": "Hello"}),
        request_bytes("GET", "/me", token()),
    )
    async with (
        serving("main:app", url, redis_url=redis_url, **latency) as cached,
        serving("main:app", url, **latency) as plain,
    ):
        await load(cached.port, hit, concurrency=1, count=20)
        await load(plain.port, hit, concurrency=1, count=20)
        sides = {"asked (50 ms)": (plain, hit), "kept": (cached, hit), "GET /me": (cached, profile)}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        alone: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, (server, request) in sides.items():
                times, failures = await load(server.port, request, concurrency=CONCURRENCY, seconds=1.5)
                assert failures == 0
                rates[name].append(len(times) / 1.5)
                times, failures = await load(server.port, request, concurrency=1, count=100)
                assert failures == 0
                alone[name].append(percentile(times, 0.5))
    print(f"response cache: medians of {ROUNDS} rounds")
    for name in sides:
        print(
            f"  {name:<14} {statistics.median(rates[name]):6.0f} requests/s at concurrency {CONCURRENCY},"
            f" p50 alone {statistics.median(alone[name]):6.2f} ms"
        )
    added = statistics.median(a - b for a, b in zip(alone["kept"], alone["GET /me"], strict=True))
    print(
        f"  kept / asked {_ratio(rates['kept'], rates['asked (50 ms)']):.1f};"
        f" a hit adds {added:.2f} ms to the p50 of GET /me"
    )


async def _misses(url: URL, redis_url: str) -> None:
    """Every prompt is asked for: one that may not read what is kept, and a tenant that keeps nothing."""
    fresh = request_bytes("POST", "/messages", token(), {"content": "Hello"})
    miss = fresh.replace(b"Host: bench", b"Host: bench\r\nCache-Control: no-cache")
    other = request_bytes("POST", "/messages", token(2), {"content": "Hello"})
    async with (
        serving("main:app", url, redis_url=redis_url) as cached,
        serving("main:app", url) as plain,
    ):
        sides = {"no Redis": (plain, fresh), "asked and kept": (cached, miss), "keeps nothing": (cached, other)}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        alone: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            for name, (server, request) in sides.items():
                spent, p50 = await _cost(server, request)
                if number:  # the first round warms up
                    cpu[name].append(spent)
                    alone[name].append(p50)
    for name in sides:
        print(
            f"  {name:<14} {statistics.median(cpu[name]):5.2f} ms of CPU a message,"
            f" p50 alone {statistics.median(alone[name]):5.2f} ms, CPU / no Redis {_ratio(cpu[name], cpu['no Redis']):.2f}"
        )


async def _cost(server: Server, request: bytes) -> tuple[float, float]:
    times, failures = await load(server.port, request, concurrency=1, count=100)
    assert failures == 0
    before = server.cpu_seconds()
    all_times, failures = await load(server.port, request, concurrency=8, count=50)
    assert failures == 0
    return (server.cpu_seconds() - before) / len(all_times) * 1000, percentile(times, 0.5)


def _ratio(those: list[float], these: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(those, these, strict=True))


@asynccontextmanager
async def _redis() -> AsyncIterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
        try:
            await until_open(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()
