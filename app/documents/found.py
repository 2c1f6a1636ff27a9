"""What a search asks, where it may look, and what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Integer, String, bindparam
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.db.execution import Record
from app.documents.shapes import Vector
from app.models.text_places import CHUNK_ROW, OF_CHUNK

# Of the documents that the caller may see, those that a search is narrowed to.
FINDABLE = """documents.tenant_id = :tenant_id AND documents.current
      AND (documents.visibility = 'tenant' OR documents.user_id = :viewer_id OR :sees_private)
      AND (:collection IS NULL OR documents.collection = :collection)
      AND (:ids IS NULL OR documents.id = ANY (:ids))
      AND (:attributes IS NULL OR documents.attributes @> :attributes)"""
WHERE_TO_LOOK = (
    bindparam("collection", type_=String),
    bindparam("ids", type_=ARRAY(String)),
    bindparam("attributes", type_=JSONB(none_as_null=True)),
    bindparam("sees_private", type_=Boolean),
)
COLUMNS = """documents.name, documents.collection, document_chunks.page, document_chunks.heading, document_chunks.start,
  document_chunks."end", document_chunks.tokens, document_chunks.text"""
OF_THE_BEST = """
  JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = best.document_id
  JOIN document_chunks ON document_chunks.tenant_id = :tenant_id AND document_chunks.id = best.chunk_id"""
MOST = bindparam("most", type_=Integer)


class PassageRow(Record):
    """A passage that was found; `score` is at most 1.9, and that of what has nothing to do with the question near 0."""

    __slots__ = ()
    text_places = OF_CHUNK
    text_row = CHUNK_ROW
    if_unreadable = "leave out"

    chunk_id: str
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
    """A question as the tenant's documents know its words; `model`: of the vectors in use, None without documents.

    `rarest`: the words by which chunks may be looked up. `chunks`: how many the tenant's readers find.
    `indexed`: it has indexes of its own.
    """

    __slots__ = ()

    words: int
    most: float
    terms: str
    rarest: list[int]
    model: str | None
    chunks: int
    indexed: bool


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Where to search; None leaves a condition out. `attributes` must all be the document's."""

    collection: str | None = None
    ids: Sequence[str] | None = None
    attributes: Mapping[str, Any] | None = field(default=None, hash=False)

    def __bool__(self) -> bool:
        return any(each is not None for each in (self.collection, self.ids, self.attributes))


def written(vector: Vector) -> str:
    """The vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"
