"""Throughput and CPU of the service over those of two floors, in short rounds that take turns.

The guarded floor does the same work with nothing that helps a developer; the unguarded one has no guard either.
"""

import asyncio
import json
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from benchmarks.environment import Postgres, Server, serving, token

ROUNDS, SECONDS, CONCURRENCY = 5, 2, 32
CASES = {
    "GET /health": ("GET", "/health"),
    "GET /me": ("GET", "/me"),
    "GET /messages?limit=20": ("GET", "/messages?limit=20"),
    "POST /messages": ("POST", "/messages"),
}
SCRIPT = """
wrk.method = "%s"
wrk.headers["Authorization"] = "Bearer %s"
wrk.headers["Content-Type"] = "application/json"
%s
"""
BODY = 'wrk.body = \'{"content": "What is async Python?"}\''


@dataclass(frozen=True, slots=True)
class Round:
    """Requests a second, and CPU seconds a request of the server process and of PostgreSQL."""

    rate: float
    process: float
    postgres: float
    failures: int


async def run(url: URL) -> None:
    if shutil.which("wrk") is None:
        print("throughput: skipped, wrk is not installed (apt-get install wrk)")
        return
    print(
        f"throughput: service / floor, {ROUNDS} interleaved rounds of {SECONDS} s, concurrency {CONCURRENCY}, one worker"
    )
    postgres = await Postgres.of(url)
    async with (
        serving("main:app", url) as service,
        serving("benchmarks.floor:app", url) as floor,
        serving("benchmarks.unguarded:app", url) as unguarded,
    ):
        servers = {"service": service, "guarded floor": floor, "unguarded floor": unguarded}
        for name, (method, path) in CASES.items():
            await compare(name, method, path, servers, postgres)


async def compare(name: str, method: str, path: str, servers: dict[str, Server], postgres: Postgres) -> None:
    rounds: dict[str, list[Round]] = {side: [] for side in servers}
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "request.lua"
        script.write_text(SCRIPT % (method, token(), BODY if method == "POST" else ""))
        for server in servers.values():
            await wrk(server, path, script, 1)
        for _ in range(ROUNDS):
            for side, server in servers.items():
                rounds[side].append(await measure(server, postgres, path, script))
    failures = sum(one.failures for side in rounds.values() for one in side)
    print(f"  {name}, failures {failures}")
    for side, measured in rounds.items():
        print(
            f"    {side:<16} {median(measured, lambda one: one.rate):7.0f} requests/s"
            f"   process {median(measured, lambda one: one.process) * 1e6:6.0f} µs"
            f"   PostgreSQL {median(measured, lambda one: one.postgres) * 1e6:6.0f} µs a request"
        )
    for side in list(rounds)[1:]:
        pairs = list(zip(rounds["service"], rounds[side], strict=True))
        print(
            f"    service / {side:<16} throughput {ratio(pairs, lambda one: one.rate)}"
            f"   process {ratio(pairs, lambda one: one.process)}"
            f"   PostgreSQL {ratio(pairs, lambda one: one.postgres)}"
        )


def median(rounds: list[Round], figure: Callable[[Round], float]) -> float:
    return statistics.median(figure(one) for one in rounds)


def ratio(pairs: list[tuple[Round, Round]], figure: Callable[[Round], float]) -> str:
    """The median of the rounds' ratios, and between which they lie; nothing where the floor needs nothing."""
    ratios = sorted(figure(ours) / figure(theirs) for ours, theirs in pairs if figure(theirs) > 1e-5)
    if len(ratios) < len(pairs):
        return "-"
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


async def measure(server: Server, postgres: Postgres, path: str, script: Path) -> Round:
    process, database = server.cpu_seconds(), postgres.cpu_seconds()
    rate, requests, failures = await wrk(server, path, script, SECONDS)
    process, database = server.cpu_seconds() - process, postgres.cpu_seconds() - database
    return Round(rate, process / requests, database / requests, failures)


async def wrk(server: Server, path: str, script: Path, seconds: int) -> tuple[float, int, int]:
    """Requests per second, how many there were, and how many answers were not 2xx."""
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{CONCURRENCY}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{server.port}{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    count = re.search(r"(\d+) requests in", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    assert rate, json.dumps(output)
    assert count, json.dumps(output)
    return float(rate[1]), int(count[1]), int(bad[1]) if bad else 0
