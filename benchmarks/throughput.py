"""Requests per second of the service over the floor's, in pairs of short rounds."""

import asyncio
import json
import re
import shutil
import statistics
import tempfile
from pathlib import Path

from sqlalchemy import URL

from benchmarks.environment import Server, serving, token

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


async def run(url: URL) -> None:
    if shutil.which("wrk") is None:
        print("throughput: skipped, wrk is not installed (apt-get install wrk)")
        return
    print(
        f"throughput: service / floor, {ROUNDS} interleaved rounds of {SECONDS} s, concurrency {CONCURRENCY}, one worker"
    )
    async with serving("benchmarks.floor:app", url) as floor, serving("main:app", url) as service:
        for name, (method, path) in CASES.items():
            await _compare(name, method, path, service, floor)


async def _compare(name: str, method: str, path: str, service: Server, floor: Server) -> None:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "request.lua"
        script.write_text(SCRIPT % (method, token(), BODY if method == "POST" else ""))
        for server in (service, floor):
            await _wrk(server, path, script, 1)
        ratios, failures = [], 0
        for _ in range(ROUNDS):
            ours, bad = await _wrk(service, path, script, SECONDS)
            theirs, worse = await _wrk(floor, path, script, SECONDS)
            ratios.append(ours / theirs)
            failures += bad + worse
    middle = statistics.median(ratios)
    print(
        f"  {name:<24} {middle:.2f}  ({min(ratios):.2f}–{max(ratios):.2f})  failures {failures}"
        f"  [last round: {ours:.0f} against {theirs:.0f} requests/s]"
    )


async def _wrk(server: Server, path: str, script: Path, seconds: int) -> tuple[float, int]:
    """Requests per second, and how many answers were not 2xx."""
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{CONCURRENCY}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{server.port}{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    assert rate, json.dumps(output)
    return float(rate[1]), int(bad[1]) if bad else 0
