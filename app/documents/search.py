"""Finds passages by meaning and by words.

score = cosine + min(0.12 · n, 0.9) · words: `n` counts the question's words that the tenant's documents have, and
`words` is the passage's BM25 as a part of the most that one could score. A longer question says more by its words. The
factors were looked for on two judged sets (ADR 39); ranks fused in the usual way fall behind the better half on one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Integer, String, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.core.principal import Principal
from app.db.execution import Connection, Record
from app.documents.shapes import Vector
from app.documents.terms import QUESTION

WORD_WEIGHT, MOST_WORD_WEIGHT = 0.12, 0.9
MAX_RESULTS = 100
MODEL_IN_USE = text("""
SELECT document_totals.embedding_model FROM document_totals WHERE document_totals.tenant_id = :tenant_id
""")
# `+ 0`: exact, so that no plan can choose an index of neighbours, which under a filter finds some of them.
SEARCH = text("""
SELECT best.chunk_id AS id, best.document_id, documents.name, documents.collection, document_chunks.page,
  document_chunks.heading, document_chunks.start, document_chunks."end", document_chunks.tokens, document_chunks.text,
  best.score
FROM (
  SELECT chunk_vectors.chunk_id, chunk_vectors.document_id,
    -(chunk_vectors.embedding <#> CAST(CAST(:vector AS text) AS halfvec)) + 0
    + :weight * COALESCE(-(chunk_terms.terms <#> CAST(CAST(:terms AS text) AS sparsevec)), 0) AS score
  FROM chunk_vectors
    JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = chunk_vectors.document_id
    LEFT JOIN chunk_terms ON chunk_terms.tenant_id = :tenant_id AND chunk_terms.chunk_id = chunk_vectors.chunk_id
  WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model AND documents.current
    AND (documents.visibility = 'tenant' OR documents.user_id = :viewer_id OR :sees_private)
    AND (:collection IS NULL OR documents.collection = :collection)
    AND (:ids IS NULL OR documents.id = ANY (:ids))
    AND (:attributes IS NULL OR documents.attributes @> :attributes)
  ORDER BY score DESC LIMIT :most
) AS best
  JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = best.document_id
  JOIN document_chunks ON document_chunks.tenant_id = :tenant_id AND document_chunks.id = best.chunk_id
WHERE best.score >= :floor
ORDER BY best.score DESC, best.chunk_id
""").bindparams(
    bindparam("collection", type_=String),
    bindparam("ids", type_=ARRAY(String)),
    bindparam("attributes", type_=JSONB(none_as_null=True)),
    bindparam("sees_private", type_=Boolean),
    bindparam("most", type_=Integer),
)


class PassageRow(Record):
    """A passage that was found; `score` is at most 1.9, and that of what has nothing to do with the question near 0."""

    __slots__ = ()

    id: str
    document_id: str
    name: str
    collection: str
    page: int | None
    heading: str
    start: int
    end: int
    tokens: int
    text: str
    score: float


class QuestionRow(Record):
    __slots__ = ()

    words: int
    most: float
    terms: str


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Where to search; None leaves a condition out. `attributes` must all be the document's."""

    collection: str | None = None
    ids: Sequence[str] | None = None
    attributes: Mapping[str, Any] | None = field(default=None, hash=False)


async def model_in_use(connection: Connection, tenant_id: str) -> str | None:
    """Of the tenant's vectors that are searched; None: it has no documents."""
    model: str | None = (await connection.execute(MODEL_IN_USE, {"tenant_id": tenant_id})).scalar_one_or_none()
    return model


async def search(  # noqa: PLR0913 - what is asked, where, and how much of it
    connection: Connection,
    caller: Principal,
    query: str,
    vector: Vector,
    model: str,
    narrowed: Narrowed,
    *,
    most: int,
    floor: float = 0.0,
) -> list[PassageRow]:
    """The best passages that the caller may see, best first, none below `floor`."""
    tenant_id = caller.tenant_id
    asked = (await connection.execute(QUESTION, {"tenant_id": tenant_id, "query": query}, QuestionRow)).one()
    weight = min(WORD_WEIGHT * asked.words, MOST_WORD_WEIGHT) / asked.most if asked.most else 0.0
    values = {
        "tenant_id": tenant_id,
        "viewer_id": caller.user_id,
        "sees_private": caller.is_admin,
        "vector": written(vector),
        "model": model,
        "terms": asked.terms,
        "weight": weight,
        "collection": narrowed.collection,
        "ids": None if narrowed.ids is None else list(narrowed.ids),
        "attributes": None if narrowed.attributes is None else dict(narrowed.attributes),
        "most": most,
        "floor": floor,
    }
    return (await connection.execute(SEARCH, values, PassageRow)).all()


def written(vector: Vector) -> str:
    """The vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"
