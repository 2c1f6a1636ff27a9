"""Documents as an ingestion stores them, with vectors that mean no more than which words a text has."""

import math
import re
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import asyncpg
from sqlalchemy import JSON, bindparam, text

from app.core.ids import new_id
from app.db import rls
from app.db.session import Database
from app.documents.chunking import passages_of
from app.documents.metering import Meter
from app.documents.shapes import Embedded, Embedder, Heading, Kind, ReadText, Vector
from app.documents.store import Run
from app.llm.pricing import PriceTable
from app.services.budget_service import SpendingCeiling
from tests.helpers import Member

INSERT_DOCUMENT = text("""
INSERT INTO documents (id, tenant_id, user_id, name, collection, visibility, attributes, media_type, content_hash,
  bytes, status, attempts)
VALUES (:id, :tenant_id, :user_id, :name, :collection, :visibility, :attributes, 'text/plain', '', 0, 'processing', 1)
""").bindparams(bindparam("attributes", type_=JSON))
INSERT_CONTENT = text("INSERT INTO document_contents (tenant_id, document_id) VALUES (:tenant_id, :id)")


class HashEmbedder:
    """Texts of the same words have the same vector; each model has its own."""

    max_tokens = 256

    def __init__(self, model: str = "hash", dimensions: int = 64, *, is_free: bool = True) -> None:
        self.model = self.name = model
        self.dimensions, self.is_free = dimensions, is_free
        self.embedded: list[tuple[Kind, str]] = []

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        self.embedded += [(kind, each) for each in texts]
        return Embedded([self._vector(each) for each in texts], sum(len(self.token_spans(each)) for each in texts))

    def _vector(self, content: str) -> Vector:
        counts = [0.0] * self.dimensions
        for word in re.findall(r"\w+", content.lower()):
            counts[crc32(f"{self.model}{word}".encode()) % self.dimensions] += 1
        length = math.hypot(*counts) or 1.0
        return [count / length for count in counts]

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    async def close(self) -> None:
        pass


FREE = Meter(PriceTable({}), SpendingCeiling(None))


async def publish(
    database: Database,
    member: Member,
    content: str,
    *,
    embedder: Embedder,
    name: str = "",
    collection: str = "default",
    visibility: str = "tenant",
    attributes: dict[str, Any] | None = None,
    headings: Sequence[Heading] = (),
    pages: Sequence[int] = (),
    until: str = "publish",
) -> str:
    """Store a document of the member's as far as this step; its id."""
    document = {
        "id": new_id(),
        "tenant_id": member.tenant_id,
        "user_id": member.id,
        "name": name or new_id(),
        "collection": collection,
        "visibility": visibility,
        "attributes": attributes or {},
    }
    read = ReadText(content, "text/plain", headings, pages)
    passages = passages_of(read, embedder.token_spans)
    run = Run(member.tenant_id, document["id"], 1)
    async with database.session(rls.enter_tenant(member.tenant_id)) as connection:
        await connection.execute(INSERT_DOCUMENT, document)
        await connection.execute(INSERT_CONTENT, document)
        assert await run.store(connection, read, passages)
        if until == "store":
            return str(document["id"])
        waiting = await run.waiting(connection, embedder.model, len(passages))
        embedded = await embedder.embed([passage.embedded for passage in passages], "passage")
        assert await run.embedded(connection, embedder.model, waiting, embedded.vectors)
        if until == "publish":
            assert await run.publish(connection, embedder.model)
    return str(document["id"])


IN_EVERY_TABLE = """
WITH document AS (
  INSERT INTO documents (id, tenant_id, user_id, name, media_type, content_hash, bytes, status, chunks, current)
  VALUES ($1, $2, $3, 'note.md', 'text/markdown', 'a hash', 6, 'ready', 1, true)
), content AS (
  INSERT INTO document_contents (tenant_id, document_id, text) VALUES ($2, $1, 'Leases')
), chunk AS (
  INSERT INTO document_chunks (id, tenant_id, document_id, n, start, "end", tokens, text)
  VALUES ($1, $2, $1, 0, 0, 6, 1, 'Leases')
), vector AS (
  INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding) VALUES ($2, 'hash', $1, $1, '[1]')
), terms AS (
  INSERT INTO chunk_terms (tenant_id, chunk_id, document_id, terms) VALUES ($2, $1, $1, '{1:1}/1048576')
), embedded AS (
  INSERT INTO embedding_hours (tenant_id, hour, user_id, model, tokens, cost_micro_usd)
  VALUES ($2, date_trunc('hour', now()), $3, 'hash', 1, 0)
), frequency AS (
  INSERT INTO term_frequencies (tenant_id, term, chunks) VALUES ($2, 1, 1)
)
INSERT INTO document_totals (tenant_id, documents, bytes, chunks, current_chunks) VALUES ($2, 1, 6, 1, 1)
"""


async def in_every_table(superuser: asyncpg.Connection, member: Member) -> None:
    """The first document of a tenant, with a row in each table of documents."""
    await superuser.execute(IN_EVERY_TABLE, new_id(), member.tenant_id, member.id)
