"""Finds the passages of a tenant that has indexes of its own, without reading all of them.

The nearest by meaning come from an index of neighbours, those with the question's rarest words from an index of words.
What is among either is scored as in any search: by both. An index of neighbours finds less than is there when what it
finds first may not be seen; then everything that may be is compared, as for any other tenant.
"""

import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog
from sqlalchemy import Integer, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.ids import is_id
from app.db.execution import Connection
from app.documents.found import COLUMNS, FINDABLE, MOST, OF_THE_BEST, WHERE_TO_LOOK, PassageRow

# An index of a tenant's vectors of a model, and one of its words (app/documents/indexes.py).
NEAR, WORDS = "'near_' || {tenant_id} || '_' || left(md5({model}), 8)", "'words_' || {tenant_id}"
_NAMES = [
    name.format(tenant_id="document_totals.tenant_id", model="document_totals.embedding_model")
    for name in (NEAR, WORDS)
]
# Of the row of the tenant's totals. One that is being built, or whose building was cut off, is not valid.
IS_INDEXED = f"""(SELECT count(*) = {len(_NAMES)} FROM pg_index WHERE pg_index.indisvalid
      AND pg_index.indexrelid IN ({", ".join(f"to_regclass(quote_ident({name}))" for name in _NAMES)}))"""
# Of the transaction. What need not be sorted is not: statistics older than a tenant would have all of its chunks
# sorted. An index goes on until it has found enough of what may be seen, up to so many of its entries.
_SETTINGS = {
    "enable_sort": "off",
    "hnsw.ef_search": "200",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "4000",
}
SETTINGS = " || ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
# So many candidates by each half. Of what is among the best ten by both halves' sum, so many have nearly all (ADR 39).
CANDIDATES = 200
# Of tenants that have indexes; a process has others' too where it serves several regions.
MOST_STATEMENTS = 1000
# Of so many chunks all are compared: it takes less than to look for them.
FEW_CHUNKS = 4000

HOUR = 3600.0
logger = structlog.get_logger()

SIZE = text(f"""
SELECT COALESCE(sum(documents.chunks), 0) AS chunks FROM documents WHERE {FINDABLE}
""").bindparams(*WHERE_TO_LOOK)
# By its key, and no other way: of an equality a planner whose statistics are older than the tenant takes any index that
# begins with the tenant to be as good. This wants an order, which only the key's has. As a scalar, it is never a join.
_THE = "{column} BETWEEN {of} AND {of} ORDER BY {column} LIMIT 1"
_MAY_BE_FOUND = f"""(
      SELECT true FROM documents WHERE {FINDABLE}
        AND {_THE.format(column="documents.id", of="{of}.document_id")})"""
# A condition that a plan for any values can tell to be the index's: both name the tenant, and a digest of the model.
OF_THE_INDEX = "chunk_vectors.tenant_id = '{tenant_id}' AND left(md5(chunk_vectors.model), 8) = '{digest}'"
_MEANING = "chunk_vectors.embedding::halfvec({dimensions}) <#> (SELECT CAST(CAST(:vector AS text) AS halfvec))"
_WORDS = "chunk_terms.terms <#> (SELECT CAST(CAST(:terms AS text) AS sparsevec))"
_NEAREST = f"""
WITH near AS MATERIALIZED (
  SELECT chunk_vectors.chunk_id, chunk_vectors.document_id, -({_MEANING}) AS meaning
  FROM chunk_vectors
  WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model AND {{of_the_index}}
    AND {_MAY_BE_FOUND.format(of="chunk_vectors")}
  ORDER BY {_MEANING} LIMIT {{candidates}}
), worded AS MATERIALIZED (
  SELECT hit.chunk_id, hit.document_id, hit.words
  FROM (
    SELECT hit.chunk_id, hit.document_id, hit.words
    FROM chunks_by_words(:rarest, CAST(CAST(:terms AS text) AS sparsevec)) AS hit
    ORDER BY hit.words DESC OFFSET 0
  ) AS hit
  WHERE {_MAY_BE_FOUND.format(of="hit")} LIMIT {{candidates}}
)
SELECT best.chunk_id, best.document_id, {COLUMNS}, best.score, (SELECT count(*) FROM near) AS near
FROM (
  SELECT scored.chunk_id, scored.document_id, scored.score FROM (
    SELECT chunk_id, document_id,
    COALESCE(near.meaning, (
      SELECT -({_MEANING}) FROM chunk_vectors
      WHERE chunk_vectors.tenant_id = :tenant_id AND chunk_vectors.model = :model
        AND {_THE.format(column="chunk_vectors.chunk_id", of="worded.chunk_id")}), 0)
    + :weight * COALESCE(worded.words, (
      SELECT -({_WORDS}) FROM chunk_terms WHERE chunk_terms.tenant_id = :tenant_id
        AND {_THE.format(column="chunk_terms.chunk_id", of="near.chunk_id")}), 0) AS score
    FROM near FULL JOIN worded USING (chunk_id, document_id)
    ORDER BY score DESC LIMIT {{candidates}}
  ) AS scored
  ORDER BY scored.score DESC LIMIT :most
) AS best
  CROSS JOIN LATERAL (
    SELECT documents.name, documents.collection FROM documents WHERE documents.tenant_id = :tenant_id
      AND {_THE.format(column="documents.id", of="best.document_id")}
  ) AS documents
  CROSS JOIN LATERAL (
    SELECT document_chunks.* FROM document_chunks WHERE document_chunks.tenant_id = :tenant_id
      AND {_THE.format(column="document_chunks.id", of="best.chunk_id")}
  ) AS document_chunks
ORDER BY best.score DESC, best.chunk_id
"""
# Document by document: no more is read than what may be found, whatever a planner expects.
_OF_EACH = """
    SELECT of_one.chunk_id, may.id AS document_id, of_one.score FROM may CROSS JOIN LATERAL (
      SELECT {table}.chunk_id, {score} AS score FROM {table}
      WHERE {table}.tenant_id = :tenant_id AND {table}.document_id BETWEEN may.id AND may.id{of_model}
      ORDER BY {table}.document_id OFFSET 0
    ) AS of_one
"""
EACH = text(f"""
WITH may AS MATERIALIZED (SELECT documents.id FROM documents WHERE {FINDABLE})
SELECT best.chunk_id, best.document_id, {COLUMNS}, best.score
FROM (
  SELECT scored.chunk_id, scored.document_id, sum(scored.score) AS score
  FROM (
    {
    _OF_EACH.format(
        table="chunk_vectors",
        of_model=" AND chunk_vectors.model = :model",
        score="-(chunk_vectors.embedding <#> (SELECT CAST(CAST(:vector AS text) AS halfvec)))",
    )
}
    UNION ALL
    {_OF_EACH.format(table="chunk_terms", of_model="", score=f":weight * -({_WORDS})")}
  ) AS scored
  GROUP BY scored.chunk_id, scored.document_id
  ORDER BY score DESC LIMIT :most
) AS best {OF_THE_BEST}
WHERE best.score >= :floor
ORDER BY best.score DESC, best.chunk_id
""").bindparams(*WHERE_TO_LOOK, MOST)


class NearestRow(PassageRow):
    """`near`: how many candidates the index of neighbours had."""

    __slots__ = ()

    near: int


def condition(tenant_id: str, model: str) -> str:
    """Of the index of a tenant's vectors of a model; it has no parameters, and nothing in it that a caller wrote."""
    if not is_id(tenant_id):
        raise ValueError("not an identifier")
    digest = hashlib.md5(model.encode(), usedforsecurity=False).hexdigest()[:8]
    return OF_THE_INDEX.format(tenant_id=tenant_id, digest=digest)


@lru_cache(maxsize=MOST_STATEMENTS)
def nearest(tenant_id: str, model: str, dimensions: int, candidates: int) -> TextClause:
    """The statement for a tenant, planned once for all of its searches."""
    sql = _NEAREST.format(dimensions=dimensions, of_the_index=condition(tenant_id, model), candidates=candidates)
    return text(sql.replace("::", r"\:\:")).bindparams(*WHERE_TO_LOOK, MOST, bindparam("rarest", type_=ARRAY(Integer)))


class Hourly:
    """Says once an hour of a tenant that its search would take indexes, if the operator made them."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def say(self, tenant_id: str, chunks: int) -> None:
        now = time.monotonic()
        if chunks < FEW_CHUNKS or now - self._said.get(tenant_id, -HOUR) < HOUR:
            return
        if len(self._said) >= MOST_STATEMENTS:
            self._said.clear()
        self._said[tenant_id] = now
        logger.warning("large_tenant_unindexed", tenant_id=tenant_id, chunks=chunks, remedy="index-documents")


class Large:
    """A search in a transaction with `SETTINGS`; `values` are those of any search."""

    def __init__(self, connection: Connection, values: Mapping[str, Any], dimensions: int) -> None:
        self._connection, self._values, self._dimensions = connection, values, dimensions

    async def passages(self, *, is_narrowed: bool) -> list[PassageRow]:
        """The best, best first, none below the values' floor."""
        if is_narrowed and await self._findable() <= FEW_CHUNKS:
            return await self._of_each()
        candidates = CANDIDATES if self._values["most"] * 4 <= CANDIDATES else 2 * CANDIDATES
        statement = nearest(self._values["tenant_id"], self._values["model"], self._dimensions, candidates)
        rows = (await self._connection.execute(statement, self._values, NearestRow)).all()
        if not rows or rows[0].near < candidates:
            return await self._of_each()
        return [row for row in rows if row.score >= self._values["floor"]]

    async def _findable(self) -> int:
        found: int = (await self._connection.execute(SIZE, self._values)).scalar_one()
        return found

    async def _of_each(self) -> list[PassageRow]:
        return (await self._connection.execute(EACH, self._values, PassageRow)).all()
