"""What an ingestion stores. Each step is one transaction, so that a killed one goes on with the step that it was at.

read      the text and its chunks; the file is forgotten
embed     the vectors of some chunks and the weights of their words, again and again
publish   readers find the document, and no longer the one of the same name before it
"""

from collections.abc import Sequence

from sqlalchemy import Integer, String, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.ids import new_id
from app.db.execution import Connection, Record
from app.db.sealing import seals
from app.documents import totals
from app.documents.found import written
from app.documents.removal import retire
from app.documents.shapes import Passage, ReadText, Vector
from app.documents.terms import OF_DOCUMENT, WEIGH, count_terms
from app.models.text_places import DOCUMENT, HEADING, OF_CHUNK, PASSAGE

# Every step holds what it is at: the run that began it, and nobody else's.
MINE = """documents.tenant_id = :tenant_id AND documents.id = :document_id AND documents.attempts = :attempt
  AND documents.status = 'processing' AND documents.deleting_at IS NULL"""
HOLD = text(f"SELECT documents.chunks FROM documents WHERE {MINE} FOR NO KEY UPDATE")
STORE_TEXT = seals(
    text("""
UPDATE document_contents SET text = :text, original = NULL
WHERE document_contents.tenant_id = :tenant_id AND document_contents.document_id = :document_id
"""),
    "document_id",
    text=DOCUMENT,
)
STORE_CHUNKS = seals(
    text("""
INSERT INTO document_chunks (id, tenant_id, document_id, n, page, heading, start, "end", tokens, text)
SELECT c.id, :tenant_id, :document_id, c.n, c.page, c.heading, c.start, c."end", c.tokens, c.text
FROM unnest(:ids, :ns, :pages, :headings, :starts, :ends, :sizes, :texts)
  AS c (id, n, page, heading, start, "end", tokens, text)
ON CONFLICT ON CONSTRAINT uq_document_chunks_tenant_id_document_id_n DO NOTHING
""").bindparams(
        *OF_DOCUMENT,
        bindparam("ids", type_=ARRAY(String)),
        *(bindparam(name, type_=ARRAY(Integer)) for name in ("ns", "pages", "starts", "ends", "sizes")),
        *(bindparam(name, type_=ARRAY(Text)) for name in ("headings", "texts")),
    ),
    "ids",
    headings=HEADING,
    texts=PASSAGE,
)
NOTE_READ = text(f"""
UPDATE documents SET pages = :pages, characters = :characters, chunks = :chunks, tokens = :tokens,
  media_type = :media_type, updated_at = now()
WHERE {MINE} RETURNING documents.id
""").bindparams(bindparam("pages", type_=Integer))
WAITING = text("""
SELECT document_chunks.id, document_chunks.heading, document_chunks.text FROM document_chunks
WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.document_id = :document_id AND NOT EXISTS (
  SELECT FROM chunk_vectors WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model
    AND chunk_vectors.chunk_id = document_chunks.id)
ORDER BY document_chunks.n LIMIT :most
""")
STORE_VECTORS = text("""
INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding)
SELECT :tenant_id, :model, v.chunk_id, :document_id, v.embedding::halfvec
FROM unnest(:ids, :vectors) AS v (chunk_id, embedding)
ON CONFLICT ON CONSTRAINT pk_chunk_vectors DO NOTHING
""").bindparams(
    *OF_DOCUMENT,
    bindparam("model", type_=String),
    bindparam("ids", type_=ARRAY(String)),
    bindparam("vectors", type_=ARRAY(Text)),
)
# 1 to 99: at 0 nothing was read, at 100 it is found.
NOTE_PROGRESS = text(f"""
UPDATE documents SET updated_at = now(), progress = 1 + 98 * (
  SELECT count(*) FROM chunk_vectors WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model
    AND chunk_vectors.document_id = :document_id) / GREATEST(documents.chunks, 1)
WHERE {MINE} RETURNING documents.id
""")
# Those that it takes the place of: the one that readers find, and what never came to be found. A newer one that was
# published has taken this one's.
OLDER = text("""
SELECT older.id FROM documents AS older
  JOIN documents ON documents.tenant_id = older.tenant_id AND documents.collection = older.collection
    AND documents.name = older.name AND documents.audience = older.audience
WHERE older.tenant_id = :tenant_id AND older.deleting_at IS NULL AND (older.current OR older.status <> 'ready')
  AND documents.tenant_id = :tenant_id AND documents.id = :document_id
  AND (older.created_at, older.id) < (documents.created_at, documents.id)
""")
PUBLISH = text(f"""
UPDATE documents SET status = 'ready', progress = 100, current = true, taken = false, lease_expires_at = NULL,
  failures = 0, updated_at = now()
WHERE {MINE}
""")
COUNT_CHUNKS = text("""
UPDATE document_totals SET current_chunks = (
  SELECT COALESCE(sum(documents.chunks), 0) FROM documents WHERE documents.tenant_id = :tenant_id AND documents.current
), embedding_model = COALESCE(document_totals.embedding_model, :model)
WHERE document_totals.tenant_id = :tenant_id
""").bindparams(bindparam("model", type_=String))


class MovedError(Exception):
    """The tenant's searches are on a model of which this run made no vectors."""


class WaitingChunk(Record):
    __slots__ = ()
    text_places = OF_CHUNK
    if_unreadable = "raise"

    id: str
    heading: str
    text: str


class Run:
    """One run of a document's ingestion; each step is False once another one has taken the document over."""

    __slots__ = ("_of", "document_id", "tenant_id")

    def __init__(self, tenant_id: str, document_id: str, attempt: int) -> None:
        self.tenant_id, self.document_id = tenant_id, document_id
        self._of = {"tenant_id": tenant_id, "document_id": document_id, "attempt": attempt}

    async def store(self, connection: Connection, read: ReadText, passages: Sequence[Passage]) -> bool:
        if (await connection.execute(HOLD, self._of)).one_or_none() is None:
            return False
        await connection.execute(STORE_TEXT, {**self._of, "text": read.text})
        columns = {
            "ids": [new_id() for _ in passages],
            "ns": [passage.n for passage in passages],
            "pages": [passage.page for passage in passages],
            "headings": [passage.heading for passage in passages],
            "starts": [passage.start for passage in passages],
            "ends": [passage.end for passage in passages],
            "sizes": [passage.tokens for passage in passages],
            "texts": [passage.text for passage in passages],
        }
        await connection.execute(STORE_CHUNKS, {**self._of, **columns})
        noted = {
            "pages": len(read.pages) or None,
            "characters": len(read.text),
            "chunks": len(passages),
            "tokens": sum(passage.tokens for passage in passages),
            "media_type": read.media_type,
        }
        return (await connection.execute(NOTE_READ, {**self._of, **noted})).one_or_none() is not None

    async def waiting(self, connection: Connection, model: str, most: int) -> list[WaitingChunk]:
        """Chunks without a vector of the model."""
        return (await connection.execute(WAITING, {**self._of, "model": model, "most": most}, WaitingChunk)).all()

    async def embedded(
        self, connection: Connection, model: str, chunks: Sequence[WaitingChunk], vectors: Sequence[Vector]
    ) -> bool:
        if (await connection.execute(HOLD, self._of)).one_or_none() is None:
            return False
        values = {"ids": [chunk.id for chunk in chunks], "vectors": [written(vector) for vector in vectors]}
        await connection.execute(STORE_VECTORS, {**self._of, **values, "model": model})
        await connection.execute(WEIGH, {**self._of, "ids": values["ids"]})
        return (await connection.execute(NOTE_PROGRESS, {**self._of, "model": model})).one_or_none() is not None

    async def publish(self, connection: Connection, model: str, *others: str) -> bool:
        """Let readers find it from its commit on, in the place of those of its name before it.

        It has vectors of these models. The lock is the one that a move takes; raises `MovedError`.
        """
        in_use = (await totals.lock(connection, self.tenant_id)).embedding_model
        if in_use not in (None, model, *others):
            raise MovedError
        held = (await connection.execute(HOLD, self._of)).one_or_none()
        if held is None:
            return False
        for older in (await connection.execute(OLDER, self._of)).scalars():
            await retire(connection, self.tenant_id, older)
        await connection.execute(PUBLISH, self._of)
        await count_terms(connection, self.tenant_id, self.document_id, held.chunks, 1)
        await connection.execute(COUNT_CHUNKS, {**self._of, "model": model})
        return True
