"""What taking documents in costs beside the embedder, and what others feel of it.

The documents are this project's own pages. Each round takes some of them in, embeds the same passages by the embedder
alone, and asks for /me with nothing else to do and beside an ingestion: ratios within a round, medians of the rounds.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from statistics import median

import asyncpg
import httpx
from sqlalchemy import URL

from app.core.ids import new_id
from app.documents.chunking import CHUNK_TOKENS, passages_of
from app.documents.embedding.minilm import MiniLM
from app.documents.extraction.limits import Limits
from app.documents.extraction.reading import prepared
from benchmarks.client import percentile, request_bytes
from benchmarks.environment import ROOT, Postgres, Server, dsn, serving, token

ROUNDS = int(os.environ.get("INGESTION_ROUNDS", "3"))
CHUNKS = int(os.environ.get("INGESTION_CHUNKS", "150"))
"""Of a round, about."""
IDLE_SECONDS, PAUSE_SECONDS = 4.0, 0.01
LEFT = "SELECT count(*) FROM documents WHERE status IN ('queued', 'processing')"


@dataclass
class Round:
    chunks: int
    seconds: float
    cpu: float
    embedder_seconds: float
    embedder_cpu: float
    idle: list[float]
    beside: list[float]


async def run(url: URL) -> None:
    embedder, rounds = MiniLM(), list[Round]()
    await embedder.embed(["Load it."], "passage")
    async with (
        serving("main:app", url) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        connection = await asyncpg.connect(dsn(url))
        service = Service(server, client, connection, await Postgres.of(url))
        await service.take_in(["Load it."])
        for number in range(ROUNDS):
            rounds.append(await one(service, embedder, pages(embedder, number)))
        await connection.close()
    await embedder.close()
    seconds, embedding = sum(each.seconds for each in rounds), sum(each.embedder_seconds for each in rounds)
    chunks = sum(each.chunks for each in rounds)
    print(f"Taking in {chunks} passages of {ROUNDS} rounds")
    print(f"  {chunks / seconds:.1f} a second; the embedder alone {chunks / embedding:.1f}")
    beyond = median(each.cpu / each.embedder_cpu for each in rounds)
    print(f"  CPU {beyond:.2f} times the embedder's: {1 - 1 / beyond:.0%} is not the embedder (goal 15 %)")
    idle = sorted(seconds for each in rounds for seconds in each.idle)
    beside = sorted(seconds for each in rounds for seconds in each.beside)
    print("GET /me, one every 10 ms, with nothing else to do and beside an ingestion")
    for share in (0.5, 0.9, 0.99):
        print(f"  p{100 * share:.0f} {percentile(idle, share):.1f} ms, {percentile(beside, share):.1f} ms")


def pages(embedder: MiniLM, number: int) -> list[tuple[str, int, list[str]]]:
    """Pages of this project that no round before had: name, how many passages, and what of them is embedded."""
    found, chunks = list[tuple[str, int, list[str]]](), 0
    for path in sorted(ROOT.glob("docs/**/*.md"))[number::ROUNDS]:
        if chunks >= CHUNKS:
            break
        read = prepared(path.read_bytes(), path.name, "text/markdown", Limits())()
        passages = passages_of(read, embedder.token_spans, CHUNK_TOKENS)
        found.append((path.read_text(), len(passages), [passage.embedded for passage in passages]))
        chunks += len(passages)
    return found


@dataclass
class Service:
    server: Server
    client: httpx.AsyncClient
    connection: asyncpg.Connection
    postgres: Postgres

    def cpu_seconds(self) -> float:
        """Of the service, of the processes that read files for it, and of PostgreSQL."""
        return self.server.cpu_seconds() + self.server.cpu_seconds_of_children() + self.postgres.cpu_seconds()

    async def take_in(self, texts: Sequence[str]) -> None:
        for text in texts:
            body = {"name": f"{new_id()}.md", "text": text}
            answer = await self.client.post("/documents", json=body, headers={"Authorization": f"Bearer {token()}"})
            assert answer.status_code == 202, answer.text
        while await self.connection.fetchval(LEFT):
            await asyncio.sleep(0.2)


async def one(service: Service, embedder: MiniLM, documents: list[tuple[str, int, list[str]]]) -> Round:
    texts = [text for text, *_ in documents]
    began, cpu = time.perf_counter(), service.cpu_seconds()
    await service.take_in(texts)
    seconds, cpu = time.perf_counter() - began, service.cpu_seconds() - cpu
    began, own = time.perf_counter(), time.process_time()
    for _, _, passages in documents:
        await embedder.embed(passages, "passage")
    embedder_seconds, embedder_cpu = time.perf_counter() - began, time.process_time() - own
    idle = await me(service.server.port, asyncio.sleep(IDLE_SECONDS))
    beside = await me(service.server.port, service.take_in(texts))
    count = sum(number for _, number, _ in documents)
    return Round(count, seconds, cpu, embedder_seconds, embedder_cpu, idle, beside)


async def me(port: int, meanwhile: Awaitable[None]) -> list[float]:
    """Seconds of each /me while something lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request, times = request_bytes("GET", "/me", token()), list[float]()
    waiting = asyncio.ensure_future(meanwhile)
    while not waiting.done():
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        times.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    await waiting
    return times
