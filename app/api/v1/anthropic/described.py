"""Anthropic's messages in the OpenAPI description."""

from typing import Any

from app.api.errors import RATE_LIMIT_HEADERS
from app.api.statuses import DETAILS, TITLES
from app.api.v1.described import EXAMPLES, STREAMS, answer, body
from app.api.v1.errors import ANTHROPIC_TYPES

TEXT, NUMBER, INTEGER, FLAG, OBJECT = ({"type": kind} for kind in ("string", "number", "integer", "boolean", "object"))
MODEL = "mock-echo"
BLOCKS = {"type": "array", "items": {"type": "object", "required": ["type"], "properties": {"type": TEXT}}}
CONTENT = {"anyOf": [TEXT, BLOCKS]}
TURN = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": ["user", "assistant"]}, "content": CONTENT},
}
_COUNTED: dict[str, Any] = {
    "model": {**TEXT, "description": "One of `/v1/models`; empty: the caller's default"},
    "messages": {"type": "array", "items": TURN, "minItems": 1},
    "system": CONTENT,
    "tools": {"type": "array", "items": OBJECT},
    "tool_choice": OBJECT,
    "thinking": OBJECT,
}
_EXAMPLE = {"model": MODEL, "messages": [{"role": "user", "content": "What is async Python?"}]}
REQUEST = body(
    {
        **_COUNTED,
        "max_tokens": {**INTEGER, "description": "The model's own bound is kept where this is above it"},
        "stop_sequences": {"type": "array", "items": TEXT},
        "temperature": {**NUMBER, "minimum": 0, "maximum": 1},
        "top_p": {**NUMBER, "minimum": 0, "maximum": 1},
        "output_config": OBJECT,
        "stream": FLAG,
    },
    ["model", "messages", "max_tokens"],
    {**_EXAMPLE, "max_tokens": 500},
)
COUNT_REQUEST = body(_COUNTED, ["model", "messages"], _EXAMPLE)
MESSAGE = {
    "type": "object",
    "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
    "properties": {
        "id": TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": TEXT,
        "content": BLOCKS,
        "stop_reason": {"enum": ["end_turn", "max_tokens", "tool_use", "refusal"]},
        "usage": OBJECT,
    },
}
EVENTS = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"type": "object", "required": ["type"], "properties": {"type": TEXT}},
}
ANSWER = answer(MESSAGE, "With `stream`: Server-Sent Events `message_start` ... `message_stop`")
ANSWER["content"]["text/event-stream"] = {"schema": EVENTS}
COUNT = answer({"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": INTEGER}})
ERROR_SCHEMA: dict[str, Any] = {
    "title": "AnthropicError",
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": TEXT, "message": TEXT}},
        "request_id": TEXT,
    },
}
ERROR = {"$ref": "#/components/schemas/AnthropicError"}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What may go wrong, as Anthropic's clients read it."""
    found = {status: answer(ERROR, TITLES[status]) for status in (401, 429, 500, 503, *statuses)}
    found[429]["headers"] = RATE_LIMIT_HEADERS
    return dict(sorted(found.items()))


def error_example(status: int) -> dict[str, Any]:
    kind = ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": DETAILS.get(status, f"{TITLES[status]}.")},
        "request_id": "01a20b5f-6f3e-7d3a",
    }


_ID = "msg_01a20b5f-6f3e-7d3a-9a52-5f1c5d3f4f0e"
EXAMPLES["create_anthropic_message"] = {
    "id": _ID,
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "stop_sequence": None,
    "content": [{"type": "text", "text": "A way to wait without blocking."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 6},
}
EXAMPLES["count_anthropic_tokens"] = {"input_tokens": 10}
STREAMS["create_anthropic_message"] = (
    'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
    '"delta": {"type": "text_delta", "text": "A "}}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n'
)
