"""The items that a client sends, in our words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.api.v1.fields import Fields
from app.api.v1.images import image_at
from app.api.v1.responses.ids import ItemId
from app.api.v1.sealing import unsealed
from app.core.items import Item, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, text_of

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


def read_items(fields: Fields, name: str = "input") -> list[Item | Reference]:
    """The items of a request, oldest first; the images that they name are not looked at yet.

    Raises:
        InvalidRequest: one of them is none, or of a kind that nothing here understands.
    """
    if isinstance(sent := fields.raw(name), str):
        return [Message("user", sent)]
    return [_read(item) for item in fields.objects(name, MAX_ITEMS)]


def _read(item: Fields) -> Item | Reference:
    kind = item.text("type") or ("item_reference" if item.raw("role") is None else "message")
    if kind not in READERS:
        item.refuse("type", f"must be one of {', '.join(READERS)} here", "unsupported_value")
    return READERS[kind](item)


def _message(item: Fields) -> Message:
    role = item.one_of("role", ROLES) or item.required_text("role")
    return Message(ROLES[role], _content(item, "content"))


def _call(item: Fields) -> ToolCall:
    return ToolCall(_name(item, "call_id"), _name(item, "name"), item.text("arguments") or "")


def _result(item: Fields) -> ToolResult:
    return ToolResult(_name(item, "call_id"), _content(item, "output"))


def _reasoning(item: Fields) -> Reasoning:
    sealed = item.text("encrypted_content")
    if sealed:
        reasoning = unsealed(sealed)
        if reasoning is None:
            item.refuse("encrypted_content", "was not given out here")
        return reasoning
    return Reasoning(text_of(_parts(item, "content" if item.raw("content") else "summary")))


def _reference(item: Fields) -> Reference:
    named = ItemId.read(item.text("id") or "")
    if named is None:
        item.refuse("id", "there is no such item", "not_found")
    return Reference(named, item.at("id"))


READERS: Mapping[str, Callable[[Fields], Item | Reference]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _result,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _name(item: Fields, name: str) -> str:
    return item.required_text(name, most=MAX_NAME)


def _content(item: Fields, name: str) -> str | tuple[Part, ...]:
    """A lone text is what it would be without its part."""
    sent = item.raw(name)
    if isinstance(sent, str):
        return sent
    if sent is None:
        item.required_object(name)
    parts = _parts(item, name)
    return text_of(parts) if _is_plain(parts) else parts


def _is_plain(parts: Sequence[Part]) -> bool:
    return len(parts) <= 1 and all(isinstance(part, Text) for part in parts)


def _parts(item: Fields, name: str) -> tuple[Part, ...]:
    return tuple(_part(part) for part in item.objects(name, MAX_PARTS))


def _part(part: Fields) -> Part:
    kind = part.text("type")
    if kind in TEXTS:
        return Text(part.text("text") or "")
    if kind == "refusal":
        return Text(part.text("refusal") or "")
    if kind == "input_image" and part.raw("image_url") is not None:
        return image_at(part, "image_url")
    return part.refuse("type", "parts are texts here, and images by their URL", "unsupported_value")
