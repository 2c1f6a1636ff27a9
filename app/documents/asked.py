"""Where a message asks, and the passages that were found for one that waits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy import Float, String, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.execution import Connection, Record
from app.documents.found import Narrowed
from app.documents.prompt import Quoted, quote
from app.models.text_places import CHUNK_ROW, OF_CHUNK

DEFAULT_PASSAGES, MAX_PASSAGES = 8, 20
# For the author alone. Of what was replaced or deleted meanwhile there is no row.
CITED = text("""
SELECT document_chunks.id AS chunk_id, document_chunks.document_id, documents.name, document_chunks.page,
  document_chunks.heading, document_chunks.start, document_chunks."end", document_chunks.text, cited.score
FROM unnest(:ids, :scores) AS cited (id, score)
  JOIN document_chunks ON document_chunks.tenant_id = :tenant_id AND document_chunks.id = cited.id
  JOIN documents ON documents.tenant_id = :tenant_id AND documents.id = document_chunks.document_id
WHERE documents.current AND (documents.visibility = 'tenant' OR documents.user_id = :author_id)
ORDER BY cited.score DESC, document_chunks.id
""").bindparams(
    bindparam("ids", type_=ARRAY(String)),
    bindparam("scores", type_=ARRAY(Float)),
    *(bindparam(name, type_=String) for name in ("tenant_id", "author_id")),
)


class CitedRow(Record):
    """A passage as a search had found it."""

    __slots__ = ()
    text_places = OF_CHUNK
    text_row = CHUNK_ROW
    if_unreadable = "leave out"

    chunk_id: str
    document_id: str
    name: str
    page: int | None
    heading: str
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The documents that a message asks, and for how many passages at most. It is stored with the message."""

    collection: str | None = None
    ids: Sequence[str] | None = None
    top_k: int = DEFAULT_PASSAGES
    filter: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def narrowed(self) -> Narrowed:
        return Narrowed(self.collection, self.ids, self.filter)


async def quote_again(
    connection: Connection, tenant_id: str, author_id: str, citations: Sequence[Mapping[str, Any]]
) -> Quoted:
    """What was found when the message was stored, as far as its author may see it still."""
    values = {
        "tenant_id": tenant_id,
        "author_id": author_id,
        "ids": [citation["chunk_id"] for citation in citations],
        "scores": [float(citation["score"]) for citation in citations],
    }
    return quote((await connection.execute(CITED, values, CitedRow)).all())
