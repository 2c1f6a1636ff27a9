"""Finds passages by meaning and by words.

score = cosine + min(0.12 · n, 0.9) · words: `n` counts the question's words that the tenant's documents have, and
`words` is the passage's BM25 as a part of the most that one could score. A longer question says more by its words. The
factors were looked for on two judged sets (ADR 39); ranks fused in the usual way fall behind the better half on one.
"""

from typing import Any

from sqlalchemy import text

from app.core.principal import Principal
from app.db.execution import Connection
from app.documents.found import (
    COLUMNS,
    FINDABLE,
    MOST,
    OF_THE_BEST,
    WHERE_TO_LOOK,
    Narrowed,
    PassageRow,
    QuestionRow,
    written,
)
from app.documents.large import Hourly, Large
from app.documents.shapes import Vector
from app.documents.terms import QUESTION

WORD_WEIGHT, MOST_WORD_WEIGHT = 0.12, 0.9
MAX_RESULTS = 100
UNINDEXED = Hourly()
# `+ 0`: exact, so that no plan can choose an index of neighbours, which under a filter finds some of them.
# (SELECT ...): read once. In a plan that is kept for all parameters it would be read again for each chunk.
# Added up by chunk, and (... IN ...) IS TRUE, which is hashed: in a join of these, a planner that expects few rows, of
# a tenant that was empty a moment ago, compares each with each.
SEARCH = text(f"""
SELECT best.chunk_id, best.document_id, {COLUMNS}, best.score
FROM (
  SELECT scored.chunk_id, scored.document_id, sum(scored.score) AS score
  FROM (
    SELECT chunk_vectors.chunk_id, chunk_vectors.document_id,
      COALESCE(-(chunk_vectors.embedding <#> (SELECT CAST(CAST(:vector AS text) AS halfvec))), 0) + 0 AS score
    FROM chunk_vectors WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model
    UNION ALL
    SELECT chunk_terms.chunk_id, chunk_terms.document_id,
      :weight * -(chunk_terms.terms <#> (SELECT CAST(CAST(:terms AS text) AS sparsevec))) AS score
    FROM chunk_terms WHERE chunk_terms.tenant_id = :tenant_id
  ) AS scored
  WHERE (scored.document_id IN (SELECT documents.id FROM documents WHERE {FINDABLE})) IS TRUE
  GROUP BY scored.chunk_id, scored.document_id
  ORDER BY score DESC LIMIT :most
) AS best {OF_THE_BEST}
WHERE best.score >= :floor
ORDER BY best.score DESC, best.chunk_id
""").bindparams(*WHERE_TO_LOOK, MOST)


async def read_question(connection: Connection, tenant_id: str, query: str) -> QuestionRow:
    return (await connection.execute(QUESTION, {"tenant_id": tenant_id, "query": query}, QuestionRow)).one()


async def passages_for(
    connection: Connection,
    caller: Principal,
    question: QuestionRow,
    vector: Vector | None,
    narrowed: Narrowed,
    *,
    most: int,
    floor: float,
) -> list[PassageRow]:
    """The best passages that the caller may see, best first, none below `floor`.

    `vector`: the question's, by its `model`; None: words alone decide.
    """
    weight = min(WORD_WEIGHT * question.words, MOST_WORD_WEIGHT) / question.most if question.most else 0.0
    values: dict[str, Any] = {
        "tenant_id": caller.tenant_id,
        "viewer_id": caller.user_id,
        "sees_private": caller.is_admin,
        "vector": None if vector is None else written(vector),
        "model": question.model,
        "terms": question.terms,
        "rarest": question.rarest,
        "weight": weight,
        "collection": narrowed.collection,
        "ids": None if narrowed.ids is None else list(narrowed.ids),
        "attributes": None if narrowed.attributes is None else dict(narrowed.attributes),
        "most": most,
        "floor": floor,
    }
    if question.indexed and vector is not None:
        return await Large(connection, values, len(vector)).passages(is_narrowed=bool(narrowed))
    if not question.indexed:
        UNINDEXED.say(caller.tenant_id, question.chunks)
    return (await connection.execute(SEARCH, values, PassageRow)).all()
