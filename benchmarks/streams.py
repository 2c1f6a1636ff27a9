"""Streams: a thousand on five connections, five hundred at reading speed, and how soon the first word comes."""

import asyncio
import resource
import statistics
import time
from itertools import pairwise

import asyncpg
from sqlalchemy import URL

from app.llm.mock import MockProvider
from benchmarks.client import percentile, request_bytes
from benchmarks.environment import Server, dsn, serving, token
from benchmarks.stream_client import Stream, streams

OLDEST = (
    "SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8, count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
)
OPEN_FILES = 4096
# The mock says its own words and then the prompt again, one piece a word.
MOCK_WORDS = 12


async def run(url: URL) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, OPEN_FILES), hard), hard))
    for part in (_many, _steady, _first):
        await part(url)


def _prompt(pieces: int) -> dict[str, object]:
    return {"content": " ".join(["word"] * (pieces - MOCK_WORDS)), "stream": True}


async def _many(url: URL, count: int = 1000, pool: int = 5, seconds: float = 8) -> None:
    print(f"{count:,} live streams, pool {pool}, an answer of 40 pieces over {seconds:g} s")
    settings = {
        "db_pool_size": str(pool),
        "llm_mock_latency_seconds": str(seconds),
        "llm_max_running_per_tenant": "2000",
    }
    body = _prompt(40)
    async with serving("main:app", url, **settings) as server:
        request = request_bytes("POST", "/messages", token(), body)
        await streams(server.port, request_bytes("POST", "/messages", token(), _prompt(MOCK_WORDS + 1)), clients=1)
        before = server.memory()
        watch = asyncio.create_task(_watch(url, server))
        seen, _ = await streams(server.port, request, clients=count)
        watch.cancel()
        oldest, memory = await watch
        whole = len(await _answer(url))
    wrong = sum(not stream.completed or stream.characters != whole for stream in seen)
    print(f"  refused, cut or not whole  {wrong} of {len(seen)}")
    print(f"  oldest transaction seen    {oldest * 1000:.0f} ms")
    print(f"  memory per stream          {(memory - before) / count / 1024:.0f} KiB")
    print(
        f"  first event                p99 {percentile(sorted(s.first_event for s in seen), 0.99):.0f} ms after all asked at once"
    )


async def _steady(url: URL, clients: int = 500, rate: int = 20, seconds: float = 10) -> None:
    pieces, step = int(rate * seconds), 1 / rate
    print(f"{clients} clients at {rate} tokens/s for {seconds:g} s, one worker")
    async with serving("main:app", url, llm_mock_latency_seconds=str(seconds)) as server:
        request = request_bytes("POST", "/messages", token(), _prompt(pieces))
        began, cpu = time.perf_counter(), server.cpu_seconds()
        seen, client_share = await streams(server.port, request, clients=clients, stagger=1.0)
        share = (server.cpu_seconds() - cpu) / (time.perf_counter() - began)
    gaps = sorted(gap for stream in seen for gap in _gaps(stream))
    worst = max(percentile(sorted(_gaps(stream)), 0.99) for stream in seen)
    merged = 1 - sum(stream.deltas for stream in seen) / (len(seen) * pieces)
    print(f"  failures                   {sum(not stream.completed for stream in seen)} of {len(seen)}")
    print(
        f"  gap between deltas         p50 {percentile(gaps, 0.5):.0f} ms, p99 {percentile(gaps, 0.99):.0f} ms, slowest"
        f" {gaps[-1] * 1000:.0f} ms; p99 is {percentile(gaps, 0.99) / step / 1000:.2f} times the provider's own"
    )
    print(f"  the worst stream's own p99 {worst:.0f} ms; deltas merged {merged:.1%}")
    print(f"  CPU                        service {share:.0%} of a core, clients {client_share:.0%}")


async def _first(url: URL, clients: int = 32, pieces: int = 20, latency: float = 0.4) -> None:
    own = await _own_first_piece(pieces, latency)
    print(f"time to the first delta, {clients} clients in a closed loop (the provider's own: {own * 1000:.0f} ms)")
    async with serving("main:app", url, llm_mock_latency_seconds=str(latency)) as server:
        request = request_bytes("POST", "/messages", token(), _prompt(pieces))
        await streams(server.port, request, clients=clients, rounds=2)
        seen, _ = await streams(server.port, request, clients=clients, rounds=12, stagger=latency)
    over = sorted(stream.arrivals[0] - own for stream in seen if stream.arrivals)
    events = sorted(stream.first_event for stream in seen)
    print(f"  first event (`message`)    p50 {percentile(events, 0.5):.1f} ms, p99 {percentile(events, 0.99):.1f} ms")
    print(f"  first delta, over its own  p50 {percentile(over, 0.5):.1f} ms, p99 {percentile(over, 0.99):.1f} ms")


def _gaps(stream: Stream) -> list[float]:
    return [later - earlier for earlier, later in pairwise(stream.arrivals)]


async def _own_first_piece(pieces: int, latency: float) -> float:
    """How long the mock itself takes for its first piece: the median of some calls."""
    from app.core.items import Message
    from app.llm.base import Call

    times = []
    for _ in range(5):
        first = asyncio.Event()
        began = time.perf_counter()
        turns = [Message("user", str(_prompt(pieces)["content"]))]
        call = asyncio.create_task(MockProvider(latency).complete(Call(turns, lambda _, first=first: first.set())))
        await first.wait()
        times.append(time.perf_counter() - began)
        await call
    return statistics.median(times)


async def _answer(url: URL) -> str:
    connection = await asyncpg.connect(dsn(url))
    answer: str = await connection.fetchval("SELECT response FROM messages ORDER BY created_at DESC LIMIT 1")
    await connection.close()
    return answer


async def _watch(url: URL, server: Server) -> tuple[float, int]:
    connection = await asyncpg.connect(dsn(url))
    oldest, memory = 0.0, 0
    try:
        while True:
            oldest = max(oldest, (await connection.fetchrow(OLDEST))[0])
            memory = max(memory, server.memory())
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return oldest, memory
    finally:
        await connection.close()
