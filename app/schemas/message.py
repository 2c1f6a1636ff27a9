from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.core.completion import FinishReason
from app.models import MessageStatus
from app.schemas.base import ANY_CASE, STORABLE, ReadModel, RequestBody, Timestamp

MAX_CONTENT_CHARACTERS = 100_000


class SendMode(RequestBody):
    """How the answer comes: at once as a whole, piece by piece, or later."""

    stream: Annotated[bool, Field(description="Answer with Server-Sent Events.")] = False
    background: Annotated[bool, Field(description="Answer 202 at once; the message is answered meanwhile.")] = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.stream and self.background:
            raise PydanticCustomError("stream_or_background", "Choose stream or background, not both")
        return self


class MessageCreate(SendMode):
    content: Annotated[
        str, Field(min_length=1, max_length=MAX_CONTENT_CHARACTERS, examples=["What is async Python?"]), STORABLE
    ]
    conversation_id: Annotated[
        str | None, Field(max_length=36, description="Send the conversation's earlier turns along."), STORABLE, ANY_CASE
    ] = None
    webhook_url: Annotated[
        str | None,
        Field(max_length=2048, description="Called with the message when it has ended; only public addresses."),
        STORABLE,
    ] = None


class MessageRetry(SendMode):
    """Nothing is required: an empty body retries and waits."""


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
    cost_micro_usd: Annotated[int | None, Field(description="Millionths of a US dollar; null: no price is set.")]
    cached: Annotated[bool, Field(description="The answer had been kept of an equal prompt: it costs nothing.")]
    attempts: int
    created_at: Timestamp
    updated_at: Timestamp


class MessageDelta(ReadModel):
    """The data of a stream's `delta` event."""

    text: Annotated[str, Field(description="The next piece of the answer.", examples=["A way "])]
