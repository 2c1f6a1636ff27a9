from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, model_validator

from app.documents.failures import FailureCode
from app.models import DocumentStatus, DocumentVisibility
from app.schemas.base import STORABLE, ReadModel, RequestBody, Timestamp
from app.schemas.search import MAX_ATTRIBUTES, Value
from app.schemas.search import Name as CollectionName

MAX_NAME = 255

Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME, examples=["handbook.md"], description="A later one of it replaces it."),
    STORABLE,
]
Collection = Annotated[CollectionName, Field(examples=["handbooks"])]
Visibility = Annotated[
    DocumentVisibility, Field(description="`private`: for its uploader and for admins; found by nobody else.")
]
Attributes = Annotated[
    dict[CollectionName, Value], Field(max_length=MAX_ATTRIBUTES, description="A search can be narrowed to them.")
]


class DocumentFields(RequestBody):
    """What goes with a file."""

    name: Name
    collection: Collection = "default"
    visibility: Visibility = DocumentVisibility.TENANT
    attributes: Attributes = Field(default_factory=dict)


class DocumentCreate(DocumentFields):
    text: Annotated[
        str,
        Field(
            min_length=1,
            examples=["# Machines\n\nA machine goes back at the end of its lease."],
            description="Read as Markdown or plain, by the name's ending.",
        ),
        STORABLE,
    ]


class DocumentForm(RequestBody):
    """The parts of a multipart form."""

    file: Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
    name: Annotated[str | None, Field(max_length=MAX_NAME, description="Empty: the file's.")] = None
    collection: Collection = "default"
    visibility: Visibility = DocumentVisibility.TENANT
    attributes: Annotated[str | None, Field(description="As JSON.", examples=['{"year": 2026}'])] = None


class DocumentRead(ReadModel):
    id: str
    name: str
    collection: str
    visibility: DocumentVisibility
    attributes: dict[str, Any]
    media_type: Annotated[str, Field(description="As it came; once the file is read, what it is.")]
    bytes: int
    status: DocumentStatus
    progress: Annotated[int, Field(description="In per cent.", ge=0, le=100)]
    error_code: FailureCode | None
    error: Annotated[str | None, Field(description="What went wrong, for people.")] = None
    pages: Annotated[int | None, Field(description="Of formats that have pages.")]
    characters: int | None
    chunks: int
    tokens: Annotated[int, Field(description="As the embedding model counts, of all chunks.")]
    user_id: Annotated[str, Field(description="Who uploaded it.")]
    tenant_id: str
    created_at: Timestamp
    updated_at: Timestamp

    @model_validator(mode="after")
    def _say_why(self) -> "DocumentRead":
        if self.error_code is not None:
            self.error = self.error_code.sentence
        return self


class CollectionRead(ReadModel):
    name: str
    documents: int
    chunks: int
    bytes: int
