"""Our items as the interface has them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from app.api.v1.responses.ids import item_id
from app.api.v1.sealing import sealed
from app.core.items import Image, Item, Message, Part, Reasoning, Text, ToolCall, ToolResult

ItemStatus = Literal["in_progress", "completed", "incomplete"]


def text_part(text: str) -> dict[str, Any]:
    """Of an answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def summary_part(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def output_of(items: Sequence[Item], message_id: str, *, with_seal: bool, cut: bool = False) -> list[dict[str, Any]]:
    """What an answer consists of. `cut`: its last item was not written to its end."""
    return [
        written(
            item,
            item_id(item, message_id, index),
            "incomplete" if cut and item is items[-1] else "completed",
            with_seal=with_seal,
        )
        for index, item in enumerate(items)
    ]


def asked_of(items: Mapping[int, Item], message_id: str) -> list[dict[str, Any]]:
    """What an answer was asked with, by places."""
    return [
        written(item, item_id(item, message_id, index, asked=True), "completed", with_seal=True)
        for index, item in items.items()
    ]


def written(item: Item, called: str, status: ItemStatus, *, with_seal: bool) -> dict[str, Any]:
    match item:
        case Message(role, content):
            kind = "output_text" if role == "assistant" else "input_text"
            parts = _parts(content, kind)
            return {"id": called, "type": "message", "status": status, "role": role, "content": parts}
        case ToolCall(call_id, name, arguments):
            return {
                "id": called,
                "type": "function_call",
                "status": status,
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }
        case ToolResult(call_id, content):
            shown = content if isinstance(content, str) else _parts(content, "input_text")
            return {"id": called, "type": "function_call_output", "status": status, "call_id": call_id, "output": shown}
        case Reasoning(text):
            summary = [summary_part(text)] if text else []
            seal = sealed(item) if with_seal else None
            return {"id": called, "type": "reasoning", "summary": summary, "encrypted_content": seal}


def _parts(content: str | tuple[Part, ...], kind: str) -> list[dict[str, Any]]:
    parts: tuple[Part, ...] = (Text(content),) if isinstance(content, str) else content
    return [_part(part, kind) for part in parts]


def _part(part: Part, kind: str) -> dict[str, Any]:
    match part:
        case Image(media_type, data):
            return {"type": "input_image", "image_url": f"data:{media_type};base64,{data}", "detail": "auto"}
        case Text(text):
            return text_part(text) if kind == "output_text" else {"type": kind, "text": text}
