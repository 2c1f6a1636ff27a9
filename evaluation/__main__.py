"""`python -m evaluation [folder ...]`: words alone, vectors alone, both, and both by indexes, on each judged set.

A folder holds `documents.jsonl` {id, title, text}, `queries.jsonl` {id, text} and `judgements.tsv` (a head, then query,
document, gain). Documents are ingested into a PostgreSQL of the run's own, and found by the service's own statements.
"""

import asyncio
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

from sqlalchemy import URL, text

from app.core.ids import new_id
from app.core.principal import Principal
from app.db import rls
from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from app.db.session import Database
from app.documents import search as by_both
from app.documents.chunking import passages_of
from app.documents.embedding.minilm import MiniLM
from app.documents.found import Narrowed
from app.documents.indexes import DocumentIndexes
from app.documents.search import passages_for, read_question
from app.documents.shapes import Embedder, Heading, ReadText
from app.documents.store import Run
from evaluation.judged import DEPTH, JudgedSet, missing_in, scores

# As a large tenant is searched: by indexes of its own.
INDEXED = "indexed"
INSERT_TENANT = text("INSERT INTO tenants (id, name) VALUES (:tenant_id, :name)")
INSERT_USER = text("""
INSERT INTO users (id, tenant_id, email, hashed_password, role) VALUES (:user_id, :tenant_id, :email, '', 'admin')
""")
INSERT_DOCUMENT = text("""
INSERT INTO documents (id, tenant_id, user_id, name, media_type, content_hash, bytes, status, attempts)
VALUES (:id, :tenant_id, :user_id, :name, 'text/plain', '', 0, 'processing', 1)
""")
INSERT_CONTENT = text("INSERT INTO document_contents (tenant_id, document_id) VALUES (:tenant_id, :id)")


class Library:
    """A tenant whose documents are those of a judged set."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database = database
        self._embedder = embedder
        self._caller = Principal(new_id(), new_id(), "admin", 0)
        self._names: dict[str, str] = {}

    async def ingest(self, judged: JudgedSet) -> None:
        tenant_id, user_id = self._caller.tenant_id, self._caller.user_id
        entry = rls.enter_tenant(tenant_id)
        async with self._database.session(entry) as connection:
            await connection.execute(INSERT_TENANT, {"tenant_id": tenant_id, "name": judged.name})
            await connection.execute(INSERT_USER, {"tenant_id": tenant_id, "user_id": user_id, "email": judged.name})
        for document in judged.documents:
            document_id = new_id()
            self._names[document_id] = document["id"]
            written = f"{document['title']}\n\n{document['text']}"
            read = ReadText(written, "text/plain", [Heading(0, 1, document["title"])])
            passages = passages_of(read, self._embedder.token_spans)
            embedded = await self._embedder.embed([passage.embedded for passage in passages], "passage")
            values = {"id": document_id, "tenant_id": tenant_id, "user_id": user_id, "name": document["id"]}
            run = Run(tenant_id, document_id, 1)
            async with self._database.session(entry) as connection:
                await connection.execute(INSERT_DOCUMENT, values)
                await connection.execute(INSERT_CONTENT, values)
                assert await run.store(connection, read, passages)
                waiting = await run.waiting(connection, self._embedder.model, len(passages))
                assert await run.embedded(connection, self._embedder.model, waiting, embedded.vectors)
                assert await run.publish(connection, self._embedder.model)

    async def find(self, question: str, vector: Sequence[float] | None) -> list[str]:
        """The documents of the best passages, each once."""
        async with self._database.session(rls.enter_tenant(self._caller.tenant_id)) as connection:
            asked = await read_question(connection, self._caller.tenant_id, question)
            rows = await passages_for(
                connection, self._caller, asked, vector, Narrowed(), most=5 * DEPTH, floor=-math.inf
            )
        return list(dict.fromkeys(self._names[row.document_id] for row in rows))[:DEPTH]


async def evaluate(judged: JudgedSet, url: URL, embedder: Embedder) -> None:
    database = Database(url, 2, statement_seconds=60)
    library, started = Library(database, embedder), perf_counter()
    await library.ingest(judged)
    asked = judged.queries
    vectors = (await embedder.embed([query["text"] for query in asked], "query")).vectors
    print(f"{judged.name}: {len(judged.documents)} documents, {len(asked)} questions, {perf_counter() - started:.0f} s")
    ways = (("words", None, False), ("vectors", 0.0, True), ("both", None, True), (INDEXED, None, True))
    for way, weight, with_vectors in ways:
        if way == INDEXED:
            await DocumentIndexes(url, lambda _: None).bring_up_to_date(least=1)
        with patch.object(by_both, "MOST_WORD_WEIGHT", by_both.MOST_WORD_WEIGHT if weight is None else weight):
            found = [
                await library.find(query["text"], vector if with_vectors else None)
                for query, vector in zip(asked, vectors, strict=True)
            ]
        judged_so = [scores(names, judged.gains[query["id"]]) for names, query in zip(found, asked, strict=True)]
        ndcg, recall = (sum(each) / len(judged_so) for each in zip(*judged_so, strict=True))
        print(f"  {way:8} nDCG@{DEPTH} {ndcg:.3f}  Recall@{DEPTH} {recall:.3f}")
    await database.close()


async def main(folders: Sequence[Path]) -> int:
    for folder in folders:
        if missing := missing_in(folder):
            print(f"No judged set in {folder}: {', '.join(missing)} missing. EVAL_DATA names folders that have one.")
            return 1
    embedder = MiniLM()
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedPostgres(Path(directory)) as server:
            await migrate(server.url)
            for folder in folders:
                await evaluate(JudgedSet(folder), server.url, embedder)
    await embedder.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main([Path(name) for name in sys.argv[1:]])))
