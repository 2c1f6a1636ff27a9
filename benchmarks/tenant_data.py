"""The end of a large tenant: exporting and erasing it, and what another tenant feels of that."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
from sqlalchemy import URL

from app.core.credentials.keys import KeyRing, shared_key
from app.core.principal import Principal
from app.core.security import TokenService
from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import SECRET_KEY, Server, dsn, serving, token

MESSAGES = 200_000
TENANT, ADMIN, SESSION = (f"99999999-0000-7000-8000-00000000000{number}" for number in range(3))
SEED = f"""
INSERT INTO tenants (id, name) VALUES ('{TENANT}', 'Large');
INSERT INTO users (id, email, hashed_password, role, tenant_id) VALUES ('{ADMIN}', 'admin@large.com', '', 'admin', '{TENANT}');
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
  VALUES ('{SESSION}', '{TENANT}', '{ADMIN}', '', now() + interval '1 day');
INSERT INTO messages (id, content, response, user_id, tenant_id, status, model, input_tokens, output_tokens, created_at)
  SELECT 'f' || lpad(m::text, 7, '0') || '-0000-7000-8000-000000000002', 'What is async Python? ' || m,
         repeat('An answer. ', 100), '{ADMIN}', '{TENANT}', 'completed', 'mock-echo', 5, 50, now() - m * interval '1 second'
  FROM generate_series(1, {MESSAGES}) m;
"""


async def run(url: URL) -> None:
    connection = await asyncpg.connect(dsn(url))
    await connection.execute(SEED, timeout=300)
    await connection.execute("VACUUM ANALYZE", timeout=300)
    async with serving("main:app", url) as server:
        profile = request_bytes("GET", "/me", token())
        await load(server.port, profile, concurrency=8, seconds=1)
        idle, _ = await load(server.port, profile, concurrency=1, seconds=4)
        print(f"GET /me of another tenant: p50 {percentile(idle, 0.5):.1f}, p99 {percentile(idle, 0.99):.1f} ms")
        await _export(server)
        peaks: list[int] = []
        await _beside("export", server, profile, lambda: _export(server, peaks))
        print(f"  memory: {peaks[0] / 2**20:.0f} MB before, at most {max(peaks) / 2**20:.0f} MB meanwhile")
        longest: list[float] = []
        watch = asyncio.create_task(_watch_transactions(connection, longest))
        await _beside("erasure", server, profile, lambda: _erase(server))
        watch.cancel()
        print(f"  longest transaction {max(longest) * 1000:.0f} ms")
        left = await connection.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", TENANT)
        print(f"  messages left {left}")


async def _beside(name: str, server: Server, profile: bytes, work: Callable[[], Awaitable[str]]) -> None:
    """The work, with one client of another tenant beside it for as long as it lasts."""
    done = asyncio.create_task(work())
    times: list[float] = []
    failures = 0
    started = time.perf_counter()
    while not done.done():
        some, failed = await load(server.port, profile, concurrency=1, seconds=1)
        times, failures = sorted(times + some), failures + failed
    said = await done
    print(f"{name} of {MESSAGES:,} messages: {said}")
    print(
        f"  GET /me beside it: p50 {percentile(times, 0.5):.1f}, p99 {percentile(times, 0.99):.1f} ms,"
        f" failures {failures} of {len(times)} in {time.perf_counter() - started:.0f} s"
    )


def _token() -> str:
    tokens = TokenService(KeyRing(shared_key(SECRET_KEY, "HS256")), 60)
    return tokens.mint(Principal(ADMIN, TENANT, "admin", 0, SESSION))


async def _export(server: Server, peaks: list[int] | None = None) -> str:
    started, size, lines, tail = time.perf_counter(), 0, 0, b""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request_bytes("GET", f"/tenants/{TENANT}/export", _token()))
    while b'"type": "end"' not in tail:
        piece = await reader.read(1 << 20)
        assert piece, "the export was cut"
        size, lines, tail = size + len(piece), lines + piece.count(b'{"type":'), (tail + piece)[-1000:]
        if peaks is not None:
            peaks.append(server.memory())
    writer.close()
    seconds = time.perf_counter() - started
    return f"{seconds:.1f} s, {lines / seconds:,.0f} rows/s, {size / 2**20:.0f} MB"


async def _erase(server: Server) -> str:
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request_bytes("DELETE", f"/tenants/{TENANT}?name=Large", _token()))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204"), head
    writer.close()
    return f"{time.perf_counter() - started:.1f} s"


async def _watch_transactions(connection: asyncpg.Connection, longest: list[float]) -> None:
    while True:
        age = await connection.fetchval(
            "SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        longest.append(float(age or 0))
        await asyncio.sleep(0.005)
