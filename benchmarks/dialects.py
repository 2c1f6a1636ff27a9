"""The interfaces of others beside our own: requests a second over those of `POST /messages`, and gaps between deltas."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from benchmarks.client import percentile, request_bytes
from benchmarks.environment import Postgres, serving, token
from benchmarks.stream_client import MESSAGES, Marks, streams
from benchmarks.throughput import CONCURRENCY, ROUNDS, SCRIPT, SECONDS, Round, measure, median, ratio, wrk

QUESTION = "What is async Python?"
MODEL = "mock-echo"


@dataclass(frozen=True, slots=True)
class Dialect:
    path: str
    body: dict[str, Any]
    marks: Marks

    def asking(self, prompt: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(json.dumps(self.body).replace(QUESTION, prompt))
        return said


def _said(**body: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **body}


CHAT = Marks(b'"delta": {"content": ', b'"delta": {"role": ', b"", (b"data: [DONE]",))
RESPONSES = Marks(
    b"event: response.output_text.delta\n", b"event: response.created\n", b"", (b"event: response.completed\n",)
)
ANTHROPIC = Marks(b"event: content_block_delta\n", b"event: message_start\n", b"", (b"event: message_stop\n",))
OURS = "POST /messages"
DIALECTS = {
    OURS: Dialect("/messages", {"content": QUESTION}, MESSAGES),
    "chat": Dialect("/v1/chat/completions", _said(), CHAT),
    "chat, stored": Dialect("/v1/chat/completions", _said(store=True), CHAT),
    "responses": Dialect("/v1/responses", {"model": MODEL, "input": QUESTION}, RESPONSES),
    "anthropic": Dialect("/v1/messages", _said(max_tokens=500), ANTHROPIC),
}


async def run(url: URL) -> None:
    await _throughput(url)
    await _gaps(url)


async def _throughput(url: URL) -> None:
    if shutil.which("wrk") is None:
        print("dialects: throughput skipped, wrk is not installed (apt-get install wrk)")
        return
    print(f"dialects: each / {OURS}, {ROUNDS} interleaved rounds of {SECONDS} s, concurrency {CONCURRENCY}, one worker")
    postgres = await Postgres.of(url)
    rounds: dict[str, list[Round]] = {name: [] for name in DIALECTS}
    with tempfile.TemporaryDirectory() as directory:
        async with serving("main:app", url) as server:
            scripts = {name: _script(Path(directory), name, dialect) for name, dialect in DIALECTS.items()}
            for name, dialect in DIALECTS.items():
                await wrk(server, dialect.path, scripts[name], 1)
            for _ in range(ROUNDS):
                for name, dialect in DIALECTS.items():
                    rounds[name].append(await measure(server, postgres, dialect.path, scripts[name]))
    for name, measured in rounds.items():
        pairs = list(zip(measured, rounds[OURS], strict=True))
        print(
            f"  {name:<14} {median(measured, lambda one: one.rate):6.0f} requests/s, failures"
            f" {sum(one.failures for one in measured)}   throughput {ratio(pairs, lambda one: one.rate)}"
            f"   process {ratio(pairs, lambda one: one.process)}   PostgreSQL {ratio(pairs, lambda one: one.postgres)}"
        )


def _script(directory: Path, name: str, dialect: Dialect) -> Path:
    script = directory / f"{name.replace('/', '')}.lua"
    script.write_text(SCRIPT % ("POST", token(), f"wrk.body = '{json.dumps(dialect.body)}'"))
    return script


async def _gaps(url: URL, clients: int = 100, rate: int = 20, pieces: int = 100) -> None:
    step, seconds = 1 / rate, pieces / rate
    print(
        f"dialects: gaps between deltas, {clients} clients at {rate} tokens/s for {seconds:g} s, over the provider's own"
    )
    async with serving("main:app", url, llm_mock_latency_seconds=str(seconds)) as server:
        for name, dialect in DIALECTS.items():
            # The mock says its own words and then the prompt again, one piece a word.
            body = {**dialect.asking(" ".join(["word"] * (pieces - 12))), "stream": True}
            request = request_bytes("POST", dialect.path, token(), body)
            seen, _ = await streams(server.port, request, clients=clients, stagger=1.0, marks=dialect.marks)
            gaps = sorted(later - earlier for stream in seen for earlier, later in pairwise(stream.arrivals))
            worst, middle = percentile(gaps, 0.99) / 1000, percentile(gaps, 0.5) / 1000
            print(
                f"  {name:<14} failures {sum(not stream.completed for stream in seen)}   p50 {middle / step:.2f} times,"
                f" p99 {worst / step:.2f} times   pieces that came with another"
                f" {1 - sum(len(stream.arrivals) for stream in seen) / sum(stream.deltas for stream in seen):.1%}"
            )
