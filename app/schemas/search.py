from typing import Annotated

from pydantic import Field

from app.documents.found import Narrowed
from app.documents.search import MAX_RESULTS
from app.schemas.base import ANY_CASE, STORABLE, ReadModel, RequestBody

MAX_QUERY_CHARACTERS, MAX_IDS, MAX_ATTRIBUTES = 2_000, 100, 16
# As many digits as every reader of JSON keeps.
MAX_NUMBER = 2**53

Name = Annotated[str, Field(min_length=1, max_length=100), STORABLE]
Value = (
    bool
    | Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, Field(max_length=500), STORABLE]
)


class SearchRequest(RequestBody):
    query: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_QUERY_CHARACTERS,
            description="A question, or words.",
            examples=["How long may a machine stay after its lease?"],
        ),
        STORABLE,
    ]
    top_k: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 10
    collection: Name | None = None
    ids: Annotated[
        list[Annotated[str, Field(max_length=36), STORABLE, ANY_CASE]] | None,
        Field(max_length=MAX_IDS, description="Of the documents to search in."),
    ] = None
    filter: Annotated[
        dict[Name, Value] | None,
        Field(max_length=MAX_ATTRIBUTES, description="Attributes that a document must have, each with this value."),
    ] = None

    def narrowed(self) -> Narrowed:
        return Narrowed(self.collection, self.ids, self.filter)


class PassageRead(ReadModel):
    """A passage that was found: the characters from `start` to before `end` of the document's text."""

    document_id: str
    chunk_id: str
    name: Annotated[str, Field(description="The document's.")]
    collection: str
    page: Annotated[int | None, Field(description="From 1; null: the format has no pages.")]
    heading: Annotated[str, Field(description="The headings above it, outermost first, ` > ` between them.")]
    start: int
    end: int
    text: str
    score: Annotated[
        float, Field(description="At most 1.9; of what has nothing to do with the question it is near 0.", ge=0)
    ]
