"""Ten thousand uploads of hostile names, types and contents: none may be answered with a 5xx, or be half stored.

Each follows from the seed and its number. They are taken in by the service's processes, as they come, by the embedder that
is the default; once all have ended, the rows are held to each other.
"""

import asyncio
import random
from collections import Counter

import asyncpg
import httpx

from soak.client import Answer, Exchange, drive
from soak.report import Failed, Outcome, Progress
from soak.seed import dsn
from soak.service import Service
from tests.documents.hostile_uploads import half_stored, made_of, upload
from tests.helpers import make_tenant

UPLOADS, TENANTS = 10_000, 20
# Of a tenant two at once, of a process eight: more would be refused for that alone.
CONCURRENCY = 8
LOOK_SECONDS = 1.0
# Nothing may wait for as long without a step of any.
STUCK_SECONDS = 900.0
LEFT = """
SELECT count(*) FILTER (WHERE deleting_at IS NULL AND status IN ('queued', 'processing')) AS unfinished,
  count(*) FILTER (WHERE deleting_at IS NOT NULL) AS going, max(updated_at) AS step
FROM documents WHERE tenant_id = ANY($1)
"""
ENDS = """
SELECT status, COALESCE(error_code, '') AS code, count(*) AS documents, sum(chunks) AS chunks FROM documents
WHERE tenant_id = ANY($1) GROUP BY 1, 2 ORDER BY 1 DESC, 3 DESC
"""


async def run(service: Service, scale: float, seed: int) -> Outcome:
    total = max(1, round(UPLOADS * scale))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.ports[0]}", timeout=60) as client:
        tenants = [await make_tenant(client) for _ in range(TENANTS)]
    tokens = [member.token for tenant in tenants for member in (tenant.admin, tenant.user)]
    ids = [tenant.id for tenant in tenants]
    progress, statuses, numbers = Progress("uploads", total), Counter[int](), iter(range(total))

    def source() -> Exchange | None:
        number = next(numbers, None)
        return None if number is None else exchange(number, seed, tokens)

    def sink(sent: Exchange, answer: Answer) -> None:
        if answer.status >= 500 or answer.status == 0:
            raise Failed(
                f"upload {sent.about} was answered with {answer.status}: {sent.request[:2000]!r}\n{answer.body!r}"
            )
        statuses[answer.status] += 1
        progress.step()

    await drive(service.ports, CONCURRENCY, source, sink)
    connection = await asyncpg.connect(dsn(service.url))
    try:
        await _until_all_ended(connection, ids)
        if wrong := await half_stored(connection, ids):
            raise Failed(f"half stored: {wrong}")
        if (made := await made_of(connection, ids)) != statuses[202]:
            raise Failed(f"{made} documents were made, and {statuses[202]} uploads were told so")
        ends = await connection.fetch(ENDS, ids)
    finally:
        await connection.close()
    return Outcome(
        "Hostile uploads",
        f"Texts and files of {TENANTS} tenants over {CONCURRENCY} connections, in part valid, and read in processes of their"
        " own; each follows from the seed and its number.",
        progress.seconds(),
        Counter(
            {"uploads": total, "documents made": made}
            | {f"… {row['status']} {row['code']}".strip(): row["documents"] for row in ends}
            | {"passages": sum(row["chunks"] for row in ends)}
        ),
        statuses,
        [
            f"None of {total:,} uploads was answered with a 5xx, and the service logged no error.",
            "Each document that was made is ready with all its passages, vectors and words, failed with none, or gone.",
            "Each passage stands in its document's text where it says.",
            "The totals of each tenant are the sums of its documents, and the frequencies of words are what counting gives.",
        ],
    )


def exchange(number: int, seed: int, tokens: list[str]) -> Exchange:
    sent = upload(random.Random(f"{seed}:{number}"))
    lines = ["POST /documents HTTP/1.1", "Host: soak", f"Authorization: Bearer {tokens[number % len(tokens)]}"]
    lines += [f"{name}: {value}" for name, value in [*sent.headers, ("Content-Length", str(len(sent.body)))]]
    return Exchange("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + sent.body, number)


async def _until_all_ended(connection: asyncpg.Connection, tenants: list[str]) -> None:
    left = await connection.fetchrow(LEFT, tenants)
    progress, since = Progress("taken in", left["unfinished"]), asyncio.get_running_loop().time()
    while left["unfinished"] or left["going"]:
        await asyncio.sleep(LOOK_SECONDS)
        before, left = left, await connection.fetchrow(LEFT, tenants)
        now = asyncio.get_running_loop().time()
        if left != before:
            since = now
            progress.step(max(0, before["unfinished"] - left["unfinished"]))
        elif now - since > STUCK_SECONDS:
            raise Failed(f"nothing is taken in any more: {dict(left)}")
