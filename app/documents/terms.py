"""The words of a chunk as BM25 weighs them: what depends on the chunk alone is stored, the rest comes with a question.

A chunk's score is the sum, over the question's terms, of idf(term) · weight(term, chunk). The weights are a sparse
vector beside the chunk; the idf changes with every document and makes another vector when somebody asks; the score is
their product. Terms are hashed into the places of the vectors (`text_terms` in the migration).
"""

from sqlalchemy import Integer, String, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.execution import Connection
from app.documents.large import IS_INDEXED, SETTINGS

# How soon more of the same word says no more, and how much a long chunk is held to have it by chance.
SATURATION, LENGTH_SHARE = 1.6, 0.75
# Words that a chunk of 256 tokens has, about. Not the tenant's own average: a weight would be wrong with each document
# that comes or goes. On two judged sets, whose averages are 28 and 98, it made no difference (ADR 39).
AVERAGE_WORDS = 120.0
# In one statement, which may not take longer than its time.
COUNTED_CHUNKS = 1000

# Chunks that a search of a large tenant looks up by their words. More, and of words that say little, changed nothing.
WORD_CANDIDATES = 3000

OF_DOCUMENT = (bindparam("tenant_id", type_=String), bindparam("document_id", type_=String))

# Weighs these chunks of a document, if they have no weights yet. As they are embedded: of all at once a large one is
# longer at it than a statement may be.
WEIGH = text(f"""
INSERT INTO chunk_terms (tenant_id, chunk_id, document_id, terms)
SELECT :tenant_id, weighed.id, :document_id,
  ('{{' || string_agg(weighed.place || '\\:' || weighed.weight, ',' ORDER BY weighed.place) || '}}/{2**20}')::sparsevec
FROM (
  SELECT counted.id, counted.place, (counted.n * {SATURATION + 1} / (counted.n + {SATURATION} * (
    {1 - LENGTH_SHARE} + {LENGTH_SHARE} * sum(counted.n) OVER (PARTITION BY counted.id) / {AVERAGE_WORDS})))::real
    AS weight
  FROM (
    SELECT document_chunks.id, terms.place, sum(terms.n) AS n
    FROM document_chunks CROSS JOIN LATERAL text_terms(document_chunks.heading || ' ' || document_chunks.text) AS terms
    WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.document_id = :document_id
      AND document_chunks.id = ANY (:ids)
    GROUP BY document_chunks.id, terms.place
  ) AS counted
) AS weighed
GROUP BY weighed.id
ON CONFLICT ON CONSTRAINT pk_chunk_terms DO NOTHING
""").bindparams(*OF_DOCUMENT, bindparam("ids", type_=ARRAY(String)))
# Of some chunks of a document. In the order of the terms: who adds to the same rows takes turns with it.
COUNT_TERMS = text("""
INSERT INTO term_frequencies AS known (tenant_id, term, chunks)
SELECT :tenant_id, terms.place, :sign * count(*)
FROM document_chunks
  CROSS JOIN LATERAL (SELECT DISTINCT place FROM text_terms(document_chunks.heading || ' ' || document_chunks.text))
    AS terms
WHERE document_chunks.tenant_id = :tenant_id AND document_chunks.document_id = :document_id
  AND document_chunks.n >= :first AND document_chunks.n < :first + :most
GROUP BY terms.place ORDER BY terms.place
ON CONFLICT ON CONSTRAINT pk_term_frequencies DO UPDATE SET chunks = known.chunks + excluded.chunks
WHERE known.tenant_id = :tenant_id
""").bindparams(*OF_DOCUMENT, *(bindparam(name, type_=Integer) for name in ("first", "most")))
# The question's terms with their idf; `most` is what a chunk could score that had nothing else. `rarest`: those by
# which chunks are looked up in an index, as many as stand in few chunks together. `indexed`: the tenant has indexes of
# its own, and what follows in the transaction takes them. `alone`: the search that follows takes one core. To
# start helpers takes longer than a small tenant's search; a large one would take all.
QUESTION = text(f"""
WITH used AS MATERIALIZED (
  SELECT found.model, found.chunks, found.indexed, CASE WHEN found.indexed THEN {SETTINGS} END AS set
  FROM (
    SELECT document_totals.embedding_model AS model, document_totals.current_chunks AS chunks, {IS_INDEXED} AS indexed
    FROM document_totals WHERE document_totals.tenant_id = :tenant_id
  ) AS found
)
SELECT count(*) AS words, COALESCE(sum(idf) * {SATURATION + 1}, 0)::float8 AS most,
  '{{' || COALESCE(string_agg(place || '\\:' || idf::real, ',' ORDER BY place), '') || '}}/{2**20}' AS terms,
  COALESCE(array_agg(place) FILTER (WHERE standing <= {WORD_CANDIDATES}), '{{}}') AS rarest,
  (SELECT used.model FROM used) AS model, COALESCE((SELECT used.chunks FROM used), 0) AS chunks,
  COALESCE((SELECT used.indexed FROM used), false) AS indexed,
  set_config('max_parallel_workers_per_gather', '0', true) AS alone
FROM (
  SELECT asked.place, ln(1 + (document_totals.current_chunks - term_frequencies.chunks + 0.5)
    / (term_frequencies.chunks + 0.5)) AS idf,
    sum(term_frequencies.chunks) OVER (ORDER BY term_frequencies.chunks, asked.place) AS standing
  FROM (SELECT DISTINCT place FROM text_terms(:query)) AS asked
    JOIN term_frequencies ON term_frequencies.tenant_id = :tenant_id AND term_frequencies.term = asked.place
    JOIN document_totals ON document_totals.tenant_id = :tenant_id
  WHERE term_frequencies.chunks > 0
) AS weighed
""").bindparams(bindparam("query", type_=String))


async def count_terms(connection: Connection, tenant_id: str, document_id: str, chunks: int, sign: int) -> None:
    """Count the words of a document in (`sign` 1), where it begins to be found, or out (-1)."""
    values = {"tenant_id": tenant_id, "document_id": document_id, "sign": sign, "most": COUNTED_CHUNKS}
    for first in range(0, chunks, COUNTED_CHUNKS):
        await connection.execute(COUNT_TERMS, {**values, "first": first})
