"""Items and options as JSON, as they are stored. What is read is as strict as what is written: it is ours alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from app.core.items import (
    NO_OPTIONS,
    Image,
    Item,
    Message,
    Options,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

Json = dict[str, Any]


def items_to_json(items: Iterable[Item]) -> list[Json]:
    return [_item_to_json(item) for item in items]


def items_from_json(stored: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Raises `ValueError` for what was not written here."""
    return tuple(_item_from_json(dict(item)) for item in stored)


def options_to_json(options: Options) -> Json:
    """Those that are set."""
    written = {
        field.name: value
        for field in fields(Options)
        if (value := getattr(options, field.name)) != getattr(NO_OPTIONS, field.name)
    }
    if options.tools:
        written["tools"] = [asdict(tool) for tool in options.tools]
    for name in ("tool_choice", "output_format"):
        if name in written:
            written[name] = asdict(written[name])
    if options.stop:
        written["stop"] = list(options.stop)
    return written


def options_from_json(stored: Mapping[str, Any]) -> Options:
    """Raises `ValueError` for what was not written here."""
    read = dict(stored)
    try:
        if "tools" in read:
            read["tools"] = tuple(Tool(**tool) for tool in read["tools"])
        if "tool_choice" in read:
            read["tool_choice"] = ToolChoice(**read["tool_choice"])
        if "output_format" in read:
            read["output_format"] = OutputFormat(**read["output_format"])
        if "stop" in read:
            read["stop"] = tuple(read["stop"])
        return Options(**read)
    except TypeError as error:
        raise ValueError("these are no options of ours") from error


def _item_to_json(item: Item) -> Json:
    match item:
        case Message(role, content):
            return {"type": "message", "role": role, "content": _content_to_json(content)}
        case ToolCall():
            return {"type": "tool_call", **asdict(item)}
        case ToolResult(call_id, content, failed):
            return {
                "type": "tool_result",
                "call_id": call_id,
                "content": _content_to_json(content),
                "failed": failed,
            }
        case Reasoning():
            return {"type": "reasoning", "text": item.text, "provider": item.provider, "sealed": item.sealed}


def _content_to_json(content: str | Sequence[Part]) -> str | list[Json]:
    if isinstance(content, str):
        return content
    return [{"type": "text" if isinstance(part, Text) else "image", **asdict(part)} for part in content]


def _item_from_json(stored: Json) -> Item:
    kind = stored.pop("type", None)
    try:
        if "content" in stored:
            stored["content"] = _content_from_json(stored["content"])
        match kind:
            case "message":
                return Message(**stored)
            case "tool_call":
                return ToolCall(**stored)
            case "tool_result":
                return ToolResult(**stored)
            case "reasoning":
                return Reasoning(**stored)
    except TypeError as error:
        raise ValueError("this is no item of ours") from error
    raise ValueError("there is no such kind of item")


def _content_from_json(stored: str | list[Json]) -> str | tuple[Part, ...]:
    if isinstance(stored, str):
        return stored
    return tuple(_part_from_json(dict(part)) for part in stored)


def _part_from_json(stored: Json) -> Part:
    match stored.pop("type", None):
        case "text":
            return Text(**stored)
        case "image":
            return Image(**stored)
        case _:
            raise ValueError("there is no such kind of part")
