"""The messages of a chat completions request as items."""

from collections.abc import Callable, Sequence

from app.api.v1.fields import Fields
from app.api.v1.images import image_at
from app.core.items import Item, Message, Part, Reasoning, Text, ToolCall, ToolResult

MAX_CALLS = 128
KINDS = {"input_audio": "sound is not heard here", "file": "send what it says as text"}


def items_of(messages: Sequence[Fields]) -> tuple[Item, ...]:
    """Raises `InvalidRequest`."""
    found: list[Item] = []
    for message in messages:
        role = message.required_text("role")
        if role not in ROLES:
            message.refuse("role", f"must be one of {', '.join(ROLES)}")
        message.ignore("name", "audio", "annotations")
        found += ROLES[role](message)
    return tuple(found)


def _system(message: Fields) -> list[Item]:
    return [Message("system", _content(message))]


def _user(message: Fields) -> list[Item]:
    return [Message("user", _content(message, images=True))]


def _assistant(message: Fields) -> list[Item]:
    """What it thought, said and called, in the order in which a model does."""
    found: list[Item] = []
    if thought := message.text("reasoning_content"):
        found.append(Reasoning(thought))
    said = message.text("refusal") or (_content(message) if message.raw("content") is not None else "")
    if said:
        found.append(Message("assistant", said))
    for call in message.objects("tool_calls", MAX_CALLS):
        if (call.text("type") or "function") != "function":
            call.refuse("type", "tools are functions here", "unsupported_value")
        found.append(_call(call.required_text("id", most=512), call.required_object("function")))
    if (function := message.object("function_call")) is not None:
        found.append(_call(_id_of(function.required_text("name")), function))
    if not found and message.raw("content") is None:
        message.refuse("content", "is required where nothing was called", "missing_required_parameter")
    return found or [Message("assistant", "")]


def _call(call_id: str, function: Fields) -> ToolCall:
    return ToolCall(call_id, function.required_text("name", most=256), function.text("arguments") or "")


def _tool(message: Fields) -> list[Item]:
    return [ToolResult(message.required_text("tool_call_id", most=512), _content(message, images=True))]


def _function(message: Fields) -> list[Item]:
    """The result of a function: the last call of its name is meant."""
    return [ToolResult(_id_of(message.required_text("name", most=256)), message.text("content") or "")]


def _id_of(function: str) -> str:
    return f"call_{function}"


ROLES: dict[str, Callable[[Fields], list[Item]]] = {
    "developer": _system,
    "system": _system,
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
    "function": _function,
}


def _content(message: Fields, *, images: bool = False) -> str | tuple[Part, ...]:
    """A text, or its parts; texts alone are one."""
    content = message.raw("content")
    if content is None:
        message.missing("content")
    if isinstance(content, str):
        return content
    parts = [_part(part, images=images) for part in message.objects("content")]
    if not all(isinstance(part, Text) for part in parts):
        return tuple(parts)
    texts = [part.text for part in parts if isinstance(part, Text)]
    return texts[0] if len(texts) == 1 else tuple(parts)


def _part(part: Fields, *, images: bool) -> Part:
    kind = part.required_text("type")
    if kind in ("text", "refusal"):
        return Text(part.required_text(kind))
    if kind != "image_url" or not images:
        part.refuse("type", KINDS.get(kind, "is not known here"), "unsupported_value")
    return image_at(part.required_object("image_url"), "url")
