"""The items that a client sends, in our words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from app.api.v1.fields import Fields
from app.api.v1.responses.ids import ItemId
from app.api.v1.sealing import unsealed
from app.core.errors import InvalidImage
from app.core.items import Item, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, text_of
from app.llm.images import RequestImages

ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# "text" is what some clients write for either.
TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
MAX_ITEMS = 10_000
MAX_PARTS = 1_000
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Reference:
    """An item that the client names instead of sending it again. `at`: the place of the name in the request."""

    id: ItemId
    at: str


async def read_items(fields: Fields, images: RequestImages, name: str = "input") -> list[Item | Reference]:
    """The items of a request, oldest first, with the images that they name.

    Raises:
        InvalidRequest: one of them is none, or of a kind that nothing here understands.
    """
    if isinstance(sent := fields.raw(name), str):
        return [Message("user", sent)]
    return [await _read(item, images) for item in fields.objects(name, MAX_ITEMS)]


async def _read(item: Fields, images: RequestImages) -> Item | Reference:
    kind = item.text("type") or ("item_reference" if item.raw("role") is None else "message")
    if kind not in READERS:
        item.refuse("type", f"must be one of {', '.join(READERS)} here", "unsupported_value")
    return await READERS[kind](item, images)


async def _message(item: Fields, images: RequestImages) -> Message:
    role = item.one_of("role", ROLES) or item.required_text("role")
    return Message(ROLES[role], await _content(item, "content", images))


async def _call(item: Fields, _: RequestImages) -> ToolCall:
    return ToolCall(_name(item, "call_id"), _name(item, "name"), item.text("arguments") or "")


async def _result(item: Fields, images: RequestImages) -> ToolResult:
    return ToolResult(_name(item, "call_id"), await _content(item, "output", images))


async def _reasoning(item: Fields, images: RequestImages) -> Reasoning:
    sealed = item.text("encrypted_content")
    if sealed:
        reasoning = unsealed(sealed)
        if reasoning is None:
            item.refuse("encrypted_content", "was not given out here")
        return reasoning
    return Reasoning(text_of(await _parts(item, "content" if item.raw("content") else "summary", images)))


async def _reference(item: Fields, _: RequestImages) -> Reference:
    named = ItemId.read(item.text("id") or "")
    if named is None:
        item.refuse("id", "there is no such item", "not_found")
    return Reference(named, item.at("id"))


READERS: Mapping[str, Callable[[Fields, RequestImages], Awaitable[Item | Reference]]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _result,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _name(item: Fields, name: str) -> str:
    return item.required_text(name, most=MAX_NAME)


async def _content(item: Fields, name: str, images: RequestImages) -> str | tuple[Part, ...]:
    """A lone text is what it would be without its part."""
    sent = item.raw(name)
    if isinstance(sent, str):
        return sent
    if sent is None:
        item.required_object(name)
    parts = await _parts(item, name, images)
    return text_of(parts) if _is_plain(parts) else parts


def _is_plain(parts: Sequence[Part]) -> bool:
    return len(parts) <= 1 and all(isinstance(part, Text) for part in parts)


async def _parts(item: Fields, name: str, images: RequestImages) -> tuple[Part, ...]:
    return tuple([await _part(part, images) for part in item.objects(name, MAX_PARTS)])


async def _part(part: Fields, images: RequestImages) -> Part:
    kind = part.text("type")
    if kind in TEXTS:
        return Text(part.text("text") or "")
    if kind == "refusal":
        return Text(part.text("refusal") or "")
    if kind == "input_image" and part.raw("image_url") is not None:
        try:
            return await images.image_of(part.required_text("image_url"))
        except InvalidImage as error:
            part.refuse("image_url", error.detail, "invalid_image")
    return part.refuse("type", "parts are texts here, and images by their URL", "unsupported_value")
