"""What a search takes by indexes of a tenant's own, as a part of what it takes without, and how much of it is found.

DOCUMENT_CHUNKS sets the size of the largest of three tenants. Vectors are mixed of a few topics, and words are as frequent as
in a language. The embedder is left out.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import asyncpg
from sqlalchemy import URL

from app.core.ids import new_id
from app.core.principal import Principal
from app.db import rls
from app.db.provision import migrate
from app.db.session import Database
from app.documents.found import Narrowed, QuestionRow
from app.documents.indexes import DocumentIndexes
from app.documents.search import passages_for, read_question
from app.documents.terms import COUNT_TERMS, WEIGH
from benchmarks.client import percentile
from benchmarks.environment import dsn

LARGEST = int(os.environ.get("DOCUMENT_CHUNKS", "20000"))
A_DOCUMENT, DIMENSIONS = 100, 384
SIZES = (A_DOCUMENT, LARGEST // 4, LARGEST)

SEARCHES, GOAL_RECALL, GOAL_MS = 60, 0.97, 15

# Of topic `t` the i-th number is sin(t · i); a chunk is of three of them. The n-th word of a vocabulary of 5,000 is about
# as frequent as 1 / n; a chunk has sixty.
VECTOR = """(SELECT l2_normalize(array_agg(
  sin({seed} * 7919 % 97 * i) + 0.7 * sin({seed} * 104729 % 89 * i) + 0.5 * sin({seed} * 1299709 % 83 * i) + random() / 5
)::real[]::halfvec) FROM generate_series(1, {dimensions}) AS i)"""
TEXT = """(SELECT string_agg('word' || floor(power(5000, random()))::int, ' ') FROM generate_series(1, 60) WHERE {seed} > 0)"""
SEED = """
SELECT setseed(0.5);
INSERT INTO tenants (id, name) VALUES ('{tenant}', '{tenant}');
INSERT INTO users (id, tenant_id, email, hashed_password, role) VALUES ('{user}', '{tenant}', '{tenant}', '', 'admin');
INSERT INTO documents (id, tenant_id, user_id, name, media_type, content_hash, bytes, status, chunks, current)
  SELECT gen_random_uuid()::text, '{tenant}', '{user}', d, 'text/plain', '', 0, 'ready', {a_document}, true
  FROM generate_series(1, {chunks} / {a_document}) AS d;
INSERT INTO document_chunks (id, tenant_id, document_id, n, start, "end", tokens, text)
  SELECT gen_random_uuid()::text, '{tenant}', id, n, 0, 1, 60, {text}
  FROM documents, generate_series(1, {a_document}) AS n WHERE tenant_id = '{tenant}';
INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding)
  SELECT '{tenant}', 'bench', id, document_id, {vector}
  FROM (SELECT *, row_number() OVER (ORDER BY id) AS seed FROM document_chunks WHERE tenant_id = '{tenant}') AS chunk;
INSERT INTO document_totals (tenant_id, documents, chunks, current_chunks, embedding_model)
  VALUES ('{tenant}', {chunks} / {a_document}, {chunks}, {chunks}, 'bench')
"""


async def run(url: URL) -> None:
    print(f"search of a tenant's documents; goals: recall@10 {GOAL_RECALL} of an exact search's, p50 {GOAL_MS} ms")
    async with _database(url) as own:
        database, connection = Database(own, pool_size=1, statement_seconds=600), await asyncpg.connect(dsn(own))
        callers = {chunks: await _seed(database, connection, chunks) for chunks in SIZES}
        await connection.execute("VACUUM ANALYZE", timeout=600)
        started = perf_counter()
        await DocumentIndexes(own, lambda _: None).bring_up_to_date(least=SIZES[1])
        print(f"  indexes of {SIZES[1] + SIZES[2]} chunks made in {perf_counter() - started:.0f} s")
        for chunks, caller in callers.items():
            await _compare(database, connection, caller, chunks)
        await connection.close()
        await database.close()


@asynccontextmanager
async def _database(url: URL) -> AsyncIterator[URL]:
    own = url.set(database="documents")
    connection = await asyncpg.connect(dsn(url))
    await connection.execute("CREATE DATABASE documents")
    await migrate(own)
    yield own
    await connection.execute("DROP DATABASE documents WITH (FORCE)")
    await connection.close()


async def _seed(database: Database, connection: asyncpg.Connection, chunks: int) -> Principal:
    caller = Principal(new_id(), new_id(), "admin", 0)
    vector, content = VECTOR.format(seed="seed", dimensions=DIMENSIONS), TEXT.format(seed="n")
    filled = SEED.format(
        tenant=caller.tenant_id, user=caller.user_id, chunks=chunks, a_document=A_DOCUMENT, vector=vector, text=content
    )
    await connection.execute(filled, timeout=600)
    found = await connection.fetch("SELECT id FROM documents WHERE tenant_id = $1", caller.tenant_id)
    for document in found:
        values = {"tenant_id": caller.tenant_id, "document_id": document["id"]}
        async with database.session(rls.enter_tenant(caller.tenant_id)) as entered:
            await entered.execute(WEIGH, values)
            await entered.execute(COUNT_TERMS, {**values, "sign": 1})
    return caller


async def _compare(database: Database, connection: asyncpg.Connection, caller: Principal, chunks: int) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    recall, indexed = [], False
    for n in range(SEARCHES):
        sql = f"SELECT {TEXT.format(seed='1')} AS words, {VECTOR.format(seed=n + 7, dimensions=DIMENSIONS)}::text AS vector"
        asked = await connection.fetchrow(sql)
        words, vector = " ".join(asked["words"].split()[:6]), [float(x) for x in asked["vector"][1:-1].split(",")]
        found: dict[bool, list[str]] = {}
        for exact in (False, True):
            started = perf_counter()
            async with database.session(rls.enter_tenant(caller.tenant_id)) as entered:
                question: Any = await read_question(entered, caller.tenant_id, words)
                indexed = indexed or question.indexed
                rows = await passages_for(
                    entered, caller, _exact(question) if exact else question, vector, Narrowed(), most=10, floor=-9
                )
            times[exact].append(perf_counter() - started)
            found[exact] = [row.chunk_id for row in rows]
        recall.append(len(set(found[False]) & set(found[True])) / len(found[True]))
    ours, exact_ms = (percentile(times[exact], 0.5) for exact in (False, True))
    print(
        f"  {chunks:>7} chunks, {'by indexes' if indexed else 'exact     '} p50 {ours:6.1f} ms  p99"
        f" {percentile(times[False], 0.99):6.1f}  of an exact one's {ours / exact_ms:4.2f}"
        f"  recall@10 {sum(recall) / len(recall):.3f}"
    )


def _exact(question: QuestionRow) -> Any:
    return SimpleNamespace(
        **{name: getattr(question, name) for name in QuestionRow.columns()} | {"indexed": False, "chunks": 0}
    )
