"""What is made of a tenant's rows is made here, and believed of no file: the words of passages, sums, marks."""

import asyncpg

from app.db.execution import Connection
from app.documents.terms import COUNTED_CHUNKS, WEIGH, count_terms
from app.services.portable.refusal import Refused

# Beside a message lies what its own row does not hold, and goes with it.
MARK_CONTENTS = """
UPDATE messages SET has_contents = true FROM message_contents c
WHERE c.tenant_id = $1 AND messages.tenant_id = $1 AND messages.id = c.message_id
"""
MISCOUNTED = """
SELECT d.id FROM documents d
WHERE d.tenant_id = $1 AND d.deleting_at IS NULL AND d.status <> 'failed' AND d.chunks <>
  (SELECT count(*) FROM document_chunks c WHERE c.tenant_id = $1 AND c.document_id = d.id)
LIMIT 1
"""
# As far as its passages were embedded, their words were weighed.
DOCUMENTS = """
SELECT d.id, d.chunks, d.current FROM documents d
WHERE d.tenant_id = $1 AND d.id > $2 AND EXISTS
  (SELECT FROM chunk_vectors v WHERE v.tenant_id = $1 AND v.document_id = d.id)
ORDER BY d.id LIMIT 1
"""
PASSAGES = """
SELECT c.id FROM document_chunks c WHERE c.tenant_id = $1 AND c.document_id = $2 AND c.n >= $3 AND c.n < $4 AND EXISTS
  (SELECT FROM chunk_vectors v WHERE v.tenant_id = $1 AND v.chunk_id = c.id)
"""
TOTALS = """
INSERT INTO document_totals AS t (tenant_id, documents, bytes, chunks, current_chunks)
SELECT $1::varchar, count(*), COALESCE(sum(d.bytes), 0), COALESCE(sum(d.chunks) FILTER (WHERE d.status <> 'failed'), 0),
  COALESCE(sum(d.chunks) FILTER (WHERE d.current), 0)
FROM documents d WHERE d.tenant_id = $1 AND d.deleting_at IS NULL HAVING count(*) > 0
ON CONFLICT (tenant_id) DO UPDATE SET documents = excluded.documents, bytes = excluded.bytes, chunks = excluded.chunks,
  current_chunks = excluded.current_chunks
"""
DIMENSIONS = """
SELECT v.model FROM chunk_vectors v WHERE v.tenant_id = $1
GROUP BY v.model HAVING count(DISTINCT vector_dims(v.embedding)) > 1 LIMIT 1
"""


async def make_derived(connection: asyncpg.Connection, tenant_id: str) -> None:
    """In the transaction that stores the rows; raises `Refused` where they do not go together."""
    if document := await connection.fetchval(MISCOUNTED, tenant_id):
        raise Refused(f"document {document} has another number of passages than it says")
    if await connection.fetchval(DIMENSIONS, tenant_id):
        raise Refused("its vectors of one model are of several lengths")
    await connection.execute(MARK_CONTENTS, tenant_id)
    await connection.execute(TOTALS, tenant_id)
    after = ""
    while found := await connection.fetchrow(DOCUMENTS, tenant_id, after):
        await _weigh(connection, tenant_id, found["id"], found["chunks"])
        if found["current"]:
            await count_terms(Connection(connection), tenant_id, found["id"], found["chunks"], 1)
        after = found["id"]


async def _weigh(connection: asyncpg.Connection, tenant_id: str, document_id: str, chunks: int) -> None:
    for first in range(0, chunks, COUNTED_CHUNKS):
        found = await connection.fetch(PASSAGES, tenant_id, document_id, first, first + COUNTED_CHUNKS)
        values = {"tenant_id": tenant_id, "document_id": document_id, "ids": [row["id"] for row in found]}
        await Connection(connection).execute(WEIGH, values)
