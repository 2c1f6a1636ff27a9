"""What is said to a model and by it, as `POST /messages` takes and shows it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.core.items import Item, Message, Reasoning, ToolCall, text_of
from app.messages.contents import read_output
from app.schemas.base import STORABLE, ReadModel, RequestBody

MAX_CONTENT_CHARACTERS = 100_000
MAX_PARTS = 100
MAX_RESULTS = 128
MAX_CALL_ID = 512

Words = Annotated[str, Field(min_length=1, max_length=MAX_CONTENT_CHARACTERS), STORABLE]


class TextPart(RequestBody):
    type: Literal["text"]
    text: Words


class ImageUrl(RequestBody):
    url: Annotated[
        str, Field(min_length=1, description="`data:image/png;base64,...`, or https: PNG, JPEG, WebP or GIF."), STORABLE
    ]


class ImagePart(RequestBody):
    type: Literal["image_url"]
    image_url: ImageUrl


PartAsked = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _kind(value: Any) -> str:
    return "parts" if isinstance(value, Sequence) and not isinstance(value, str) else "text"


ContentAsked = Annotated[
    Annotated[Words, Tag("text")] | Annotated[list[PartAsked], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_kind),
]


class ToolResultAsked(RequestBody):
    """What a tool came to, for the model that called it."""

    call_id: Annotated[str, Field(min_length=1, max_length=MAX_CALL_ID), STORABLE]
    content: Annotated[
        Annotated[str, Field(max_length=MAX_CONTENT_CHARACTERS), STORABLE, Tag("text")]
        | Annotated[list[PartAsked], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
        Discriminator(_kind),
    ] = ""
    failed: bool = False


class ToolCallRead(ReadModel):
    """A call of a tool of the caller's, who answers it with the next message of the conversation."""

    id: str
    name: str
    arguments: Annotated[str, Field(description="As the model wrote them: JSON, if it could.")]


class OutputItem(ReadModel):
    """`message` has `text`, `reasoning` too; `tool_call` has the others."""

    type: Literal["message", "reasoning", "tool_call"]
    text: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None

    @classmethod
    def of(cls, item: Item) -> "OutputItem":
        match item:
            case ToolCall(call_id, name, arguments):
                return cls(type="tool_call", id=call_id, name=name, arguments=arguments)
            case Reasoning(text):
                return cls(type="reasoning", text=text)
            case Message(_, content):
                return cls(type="message", text=text_of(content))
            case _:
                raise ValueError("a model says no results")


def shown_output(stored: Any) -> Any:
    """The items as they are stored, or as they are shown."""
    if not stored or isinstance(stored[0], OutputItem):
        return stored
    return [OutputItem.of(item) for item in read_output("", stored)]
