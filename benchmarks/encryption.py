"""What encrypted texts cost: CPU of the process and of PostgreSQL a request, and bytes, over the same in plain.

Sides take turns in short rounds, each on a database of its own with the same messages, and the figure is the ratio of
each round. With BASE=<a checkout> that one is a side too, in plain: what it costs where it is off.
"""

import os
import statistics
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from app.core.credentials.envelope import MasterKeys
from app.core.credentials.key_files import KeyFiles
from app.db.session import Database
from app.db.texts import Texts
from app.services.stored_texts import seal_tenant
from benchmarks.client import load, request_bytes
from benchmarks.environment import Postgres, Server, dsn, principal, serving, token

ROUNDS, REQUESTS, CONCURRENCY = 9, 25, 32
MASTER_KEY = "benchmark-" * 4
ONE = "/messages/00000100-0000-7000-8000-000000000002"
CASES = {
    "GET /messages?limit=20": request_bytes("GET", "/messages?limit=20", token()),
    "GET /messages/{id}": request_bytes("GET", ONE, token(number=1)),
    "POST /messages": request_bytes("POST", "/messages", token(), {"content": "What is async Python? " * 10}),
}
SIZE = """
SELECT avg(pg_column_size(content) + pg_column_size(response)), avg(COALESCE(pg_column_size(words), 0))
FROM messages WHERE tenant_id = $1 AND status = 'completed' AND id LIKE '0%'
"""


async def run(url: URL) -> None:
    print(f"encryption: over plain, {ROUNDS} interleaved rounds of {REQUESTS * CONCURRENCY} requests")
    async with AsyncExitStack() as stack:
        keys = stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-saas-keys-"))
        sealed_url = await _sealed_copy(url, Path(keys))
        settings = {"encrypt_text": "true", "text_keys_dir": keys, "master_key": MASTER_KEY}
        servers = {
            "plain": await stack.enter_async_context(serving("main:app", url)),
            "encrypted": await stack.enter_async_context(serving("main:app", sealed_url, **settings)),
        }
        if base := os.environ.get("BASE"):
            servers["base, plain"] = await stack.enter_async_context(serving("main:app", url, root=Path(base)))
        await _sizes({"plain": url, "encrypted": sealed_url})
        postgres = await Postgres.of(url)
        for name, request in CASES.items():
            await _compare(name, request, servers, postgres)


async def _sealed_copy(url: URL, keys: Path) -> URL:
    """The database again, with the texts of tenant 1 sealed."""
    copy = url.set(database="encrypted")
    admin = await asyncpg.connect(dsn(url.set(database="postgres")))
    await admin.execute(f"CREATE DATABASE encrypted TEMPLATE {url.database}", timeout=300)
    await admin.close()
    files = KeyFiles(keys, MasterKeys([MASTER_KEY]))
    files.begin()
    database = Database(copy, pool_size=1)
    database.texts = Texts(files, seals=True)
    await seal_tenant(database, database.texts, principal().tenant_id)
    await database.close()
    connection = await asyncpg.connect(dsn(copy))
    await connection.execute("VACUUM ANALYZE", timeout=300)
    await connection.close()
    return copy


async def _sizes(urls: dict[str, URL]) -> None:
    for side, url in urls.items():
        connection = await asyncpg.connect(dsn(url))
        texts, words = await connection.fetchrow(SIZE, principal().tenant_id)
        await connection.close()
        print(f"  {side}: {texts:.0f} bytes of texts and {words:.0f} of words a message")


async def _compare(name: str, request: bytes, servers: dict[str, Server], postgres: Postgres) -> None:
    used: dict[str, list[tuple[float, float]]] = {side: [] for side in servers}
    for server in servers.values():
        await load(server.port, request, concurrency=CONCURRENCY, count=REQUESTS)
    for _ in range(ROUNDS):
        for side, server in servers.items():
            before = server.cpu_seconds(), postgres.cpu_seconds()
            _, failures = await load(server.port, request, concurrency=CONCURRENCY, count=REQUESTS)
            assert not failures, f"{side}: {failures} failed"
            after = server.cpu_seconds(), postgres.cpu_seconds()
            used[side].append((after[0] - before[0], after[1] - before[1]))
    each = statistics.median(process for process, _ in used["plain"]) / (REQUESTS * CONCURRENCY)
    print(f"  {name}: {each * 1e6:.0f} µs in plain")
    for side, costs in used.items():
        if side == "plain":
            continue
        for place, what in enumerate(("process", "with PostgreSQL")):
            ratios = sorted(
                sum(cost[: place + 1]) / sum(plain[: place + 1])
                for cost, plain in zip(costs, used["plain"], strict=True)
            )
            print(f"    {side:<12} {what:<16} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
