"""The messages of an Anthropic request as items: each content block is one, or a part of one."""

import json
from collections.abc import Sequence
from typing import Any

from app.api.v1.fields import Fields
from app.api.v1.images import image_at
from app.api.v1.sealing import unsealed
from app.core.items import Image, Item, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult

PROVIDER = "anthropic"


def items_of(messages: Sequence[Fields]) -> list[Item]:
    """The images that they name are not looked at yet; raises `InvalidRequest`."""
    found: list[Item] = []
    for message in messages:
        role = message.required_text("role")
        if role not in ("user", "assistant", "system"):
            message.refuse("role", "must be user or assistant")
        content = message.raw("content")
        if content is None:
            message.missing("content")
        if isinstance(content, str):
            found.append(Message(role, content))  # type: ignore[arg-type]
        else:
            found += _of_blocks(message.objects("content"), role)  # type: ignore[arg-type]
    return found


def _of_blocks(blocks: Sequence[Fields], role: Role) -> list[Item]:
    """In their order; texts and pictures that follow each other are one message."""
    found: list[Item] = []
    parts: list[Part] = []
    for block in blocks:
        block.ignore("cache_control", "citations", "title", "context")
        item = _item(block, role)
        if isinstance(item, Text | Image):
            parts.append(item)
            continue
        found += _said(role, parts)
        parts = []
        found.append(item)
    return found + _said(role, parts)


def _said(role: Role, parts: Sequence[Part]) -> list[Item]:
    if not parts:
        return []
    only = parts[0]
    return [Message(role, only.text if len(parts) == 1 and isinstance(only, Text) else tuple(parts))]


def _item(block: Fields, role: Role) -> Item | Part:
    kind = block.required_text("type")
    if role == "assistant":
        match kind:
            case "tool_use":
                arguments = json.dumps(block.mapping("input") or {}, ensure_ascii=False)
                return ToolCall(block.required_text("id", most=512), block.required_text("name", most=256), arguments)
            case "thinking":
                return _thought(block)
            case "redacted_thinking":
                return _redacted(block)
    elif kind == "tool_result":
        failed = bool(block.flag("is_error"))
        return ToolResult(block.required_text("tool_use_id", most=512), _result(block), failed)
    return part_of(block)


def part_of(block: Fields) -> Part:
    match block.required_text("type"):
        case "text":
            return Text(block.required_text("text"))
        case "image":
            return _image(block.required_object("source"))
        case "document":
            return _document(block.required_object("source"))
        case _:
            return block.refuse("type", "is not known here")


def _result(block: Fields) -> str | tuple[Part, ...]:
    content = block.raw("content")
    if content is None or isinstance(content, str):
        return content or ""
    return tuple(part_of(part) for part in block.objects("content"))


def _image(source: Fields) -> Image:
    name = "url" if source.required_text("type") == "url" else "data"
    url = source.required_text(name)
    if name == "data":
        url = f"data:{source.required_text('media_type')};base64,{url}"
    return image_at(source, name, url)


def _document(source: Fields) -> Text:
    """A text alone: files have a place of their own, where what they say can be asked for."""
    if source.required_text("type") != "text":
        source.refuse("type", "send what it says as text, or upload it to /documents")
    source.ignore("media_type")
    return Text(source.required_text("data"))


def _thought(block: Fields) -> Reasoning:
    """The signature is as this service gave it, or as Anthropic did: then it is the block itself that is kept."""
    text, signature = block.text("thinking") or "", block.text("signature") or ""
    known = unsealed(signature)
    if known is not None:
        return known
    sealed: dict[str, Any] | None = {"type": "thinking", "thinking": text, "signature": signature}
    return Reasoning(text, PROVIDER, sealed if signature else None)


def _redacted(block: Fields) -> Reasoning:
    data = block.required_text("data")
    return unsealed(data) or Reasoning("", PROVIDER, {"type": "redacted_thinking", "data": data})
