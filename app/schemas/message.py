from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, StrictBool, computed_field, model_validator
from pydantic_core import PydanticCustomError

from app.core.completion import FinishReason
from app.core.items import Item
from app.documents.asked import DEFAULT_PASSAGES, MAX_PASSAGES, Asked
from app.messages.log import Log
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.schemas.base import ANY_CASE, STORABLE, ReadModel, RequestBody, Timestamp
from app.schemas.message_items import MAX_RESULTS, ContentAsked, OutputItem, ToolCallRead, ToolResultAsked, shown_output
from app.schemas.message_options import MessageOptions
from app.schemas.search import MAX_ATTRIBUTES, MAX_IDS, Name, Value


class SendMode(RequestBody):
    """How the answer comes: at once as a whole, piece by piece, or later."""

    stream: Annotated[bool, Field(description="Answer with Server-Sent Events.")] = False
    background: Annotated[bool, Field(description="Answer 202 at once; the message is answered meanwhile.")] = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.stream and self.background:
            raise PydanticCustomError("stream_or_background", "Choose stream or background, not both")
        return self


class DocumentsAsked(RequestBody):
    """Where to look for passages to answer from."""

    collection: Name | None = None
    ids: Annotated[
        list[Annotated[str, Field(max_length=36), STORABLE, ANY_CASE]] | None,
        Field(max_length=MAX_IDS, description="Of the documents to look in."),
    ] = None
    top_k: Annotated[int, Field(ge=1, le=MAX_PASSAGES, description="Passages at most.")] = DEFAULT_PASSAGES
    filter: Annotated[
        dict[Name, Value] | None,
        Field(max_length=MAX_ATTRIBUTES, description="Attributes that a document must have, each with this value."),
    ] = None


class MessageCreate(MessageOptions, SendMode):
    content: Annotated[
        ContentAsked | None,
        Field(examples=["What is async Python?"], description="A text, or parts of text and images."),
    ] = None
    tool_results: Annotated[
        list[ToolResultAsked] | None,
        Field(
            min_length=1,
            max_length=MAX_RESULTS,
            description="What the tools came to that the last message of the conversation called: of all its calls.",
        ),
    ] = None
    conversation_id: Annotated[
        str | None, Field(max_length=36, description="Send the conversation's earlier turns along."), STORABLE, ANY_CASE
    ] = None
    webhook_url: Annotated[
        str | None,
        Field(max_length=2048, description="Called with the message when it has ended; only public addresses."),
        STORABLE,
    ] = None
    documents: Annotated[
        StrictBool | DocumentsAsked,
        Field(description="Answer from the tenant's documents: `true`, or where in them; the answer has `citations`."),
    ] = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.tool_results is None:
            raise PydanticCustomError("missing", "A message needs content, or tool_results")
        if self.tool_results is not None and self.conversation_id is None:
            raise PydanticCustomError("no_conversation", "tool_results need the conversation_id that they belong to")
        if self.documents and self.content is None:
            raise PydanticCustomError("nothing_asked", "Documents are asked by content")
        return self

    def asked(self) -> Asked | None:
        if isinstance(self.documents, DocumentsAsked):
            return Asked(**self.documents.model_dump())
        return Asked() if self.documents else None


class MessageRetry(SendMode):
    """Nothing is required: an empty body retries and waits."""


class Citation(ReadModel):
    """A passage that was in the prompt."""

    source: Annotated[int, Field(description="Its number there: `[1]` in the answer. Neighbours share one.")]
    document_id: str
    chunk_id: str
    name: Annotated[str, Field(description="The document's, as it was.")]
    page: int | None
    heading: str
    start: Annotated[int, Field(description="Where it begins in the document's text, in characters.")]
    end: int
    cited_text: Annotated[str, Field(description="Its first 300 characters.")]
    score: float


class MessageCitations(ReadModel):
    """The data of a stream's `citations` event."""

    citations: list[Citation]


class MessageRead(ReadModel):
    id: str
    content: str
    response: Annotated[str, Field(description="The answer; of a message that did not complete, what came of it.")]
    user_id: str
    tenant_id: str
    conversation_id: str | None
    status: MessageStatus
    error_code: str | None
    finish_reason: Annotated[
        FinishReason | None,
        Field(description="Why the provider stopped; `length`: the answer is cut."),
    ]
    model: str | None
    input_tokens: Annotated[int | None, Field(description="As the provider counted, of all attempts.")]
    cached_tokens: Annotated[int | None, Field(description="Those of `input_tokens` that the provider had cached.")]
    output_tokens: int | None
    reasoning_tokens: Annotated[
        int | None, Field(description="Those of `output_tokens` that went into thoughts; null: nobody said.")
    ] = None
    cost_micro_usd: Annotated[int | None, Field(description="Millionths of a US dollar; null: no price is set.")]
    cached: Annotated[bool, Field(description="The answer had been kept of an equal prompt: it costs nothing.")]
    attempts: int
    citations: Annotated[
        list[Citation] | None,
        Field(description="The passages that its prompt had; empty: none was found; null: it did not ask documents."),
    ] = None
    output: Annotated[
        list[OutputItem] | None,
        Field(description="All that the model said, in order; null: `response` is all of it. Lists leave it out."),
        BeforeValidator(shown_output),
    ] = None
    api: Annotated[str, Field(description="The interface that it came by.")] = "messages"
    metadata: dict[str, str] | None = None
    previous_id: Annotated[str | None, Field(description="The message that it goes on with, below `/v1`.")] = None
    stored: Annotated[bool, Field(description="False: its texts were never kept.")] = True
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, row: MessageRow, output: Sequence[Item]) -> Self:
        """With what was said: of a message that is not stored its row does not know it."""
        read = cls.model_validate(row)
        if row.stored or not output:
            return read
        said = Log.of(output)
        shown = None if said.plain else [OutputItem.of(item) for item in output]
        return read.model_copy(update={"response": said.text, "output": shown})

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tool_calls(self) -> list[ToolCallRead] | None:
        """What the model wants to have called; null: nothing."""
        calls = [item for item in self.output or () if item.type == "tool_call"]
        return [ToolCallRead.model_validate(call) for call in calls] or None


class MessageReasoning(ReadModel):
    """The data of a stream's `reasoning` event."""

    text: Annotated[str, Field(description="The next piece of the model's thoughts.")]


class MessageToolCall(ReadModel):
    """The data of a stream's `tool_call` event: its first has `id` and `name`, the others a piece of the arguments."""

    index: Annotated[int, Field(description="Of the answer's calls, from 0.")]
    id: str | None = None
    name: str | None = None
    arguments: str


class MessageDelta(ReadModel):
    """The data of a stream's `delta` event."""

    text: Annotated[str, Field(description="The next piece of the answer.", examples=["A way "])]
