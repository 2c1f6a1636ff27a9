"""What it costs to be watched: CPU of the process a request, with metrics and with traces, over the same with neither.

Sides take turns in short rounds, and the figure is the ratio of each round; a collector takes the spans. With BASE=<a
checkout> that one, which nothing watches, is a side too.
"""

import os
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web
from sqlalchemy import URL

from benchmarks.client import load, request_bytes
from benchmarks.environment import Server, free_port, serving, token

ROUNDS, REQUESTS, CONCURRENCY = 7, 25, 32
CASES = {
    "GET /me": request_bytes("GET", "/me", token()),
    "GET /messages?limit=20": request_bytes("GET", "/messages?limit=20", token()),
    "POST /messages": request_bytes("POST", "/messages", token(), {"content": "What is async Python?"}),
}


async def run(url: URL) -> None:
    print(f"observed: CPU a request over neither, {ROUNDS} interleaved rounds of {REQUESTS * CONCURRENCY} requests")
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(_collector())
        sides = {
            "neither": {},
            "metrics": {"metrics_port": str(free_port())},
            "traces, 10 %": {"otel_exporter_otlp_endpoint": endpoint},
            "traces, 100 %": {"otel_exporter_otlp_endpoint": endpoint, "otel_traces_sampler_arg": "1"},
        }
        servers = {
            side: await stack.enter_async_context(serving("main:app", url, **settings))
            for side, settings in sides.items()
        }
        if base := os.environ.get("BASE"):
            servers["base"] = await stack.enter_async_context(serving("main:app", url, root=Path(base)))
        for name, request in CASES.items():
            await _compare(name, request, servers)


async def _compare(name: str, request: bytes, servers: dict[str, Server]) -> None:
    used: dict[str, list[float]] = {side: [] for side in servers}
    for server in servers.values():
        await load(server.port, request, concurrency=CONCURRENCY, count=REQUESTS)
    for _ in range(ROUNDS):
        for side, server in servers.items():
            before = server.cpu_seconds()
            _, failures = await load(server.port, request, concurrency=CONCURRENCY, count=REQUESTS)
            assert not failures, f"{side}: {failures} failed"
            used[side].append((server.cpu_seconds() - before) / (REQUESTS * CONCURRENCY))
    print(f"  {name}: {statistics.median(used['neither']) * 1e6:.0f} µs")
    for side, costs in used.items():
        ratios = sorted(cost / neither - 1 for cost, neither in zip(costs, used["neither"], strict=True))
        if side != "neither":
            print(f"    {side:<14} {statistics.median(ratios):+6.1%}   ({ratios[0]:+.1%} to {ratios[-1]:+.1%})")


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
