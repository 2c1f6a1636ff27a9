"""Chat completions in the OpenAPI description."""

from typing import Any

from app.api.v1.described import EXAMPLES, NULLABLE, STREAMS, answer, body, listed

TEXT, NUMBER, COUNT, FLAG, OBJECT = ({"type": kind} for kind in ("string", "number", "integer", "boolean", "object"))
MODEL = "mock-echo"
PARTS = {"type": "array", "items": {"type": "object", "required": ["type"], "properties": {"type": TEXT}}}
MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["developer", "system", "user", "assistant", "tool"]},
        "content": {"anyOf": [TEXT, PARTS, {"type": "null"}], "description": "Parts: `text`, and of users `image_url`"},
        "tool_calls": {"type": "array", "items": OBJECT},
        "tool_call_id": TEXT,
    },
}
REQUEST = body(
    {
        "model": {**TEXT, "description": "One of `/v1/models`; empty: the caller's default"},
        "messages": {"type": "array", "items": MESSAGE, "minItems": 1},
        "max_completion_tokens": {**COUNT, "description": "The model's own bound is kept where this is above it"},
        "temperature": {**NUMBER, "minimum": 0, "maximum": 2},
        "top_p": {**NUMBER, "minimum": 0, "maximum": 1},
        "stop": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "maxItems": 4}]},
        "seed": COUNT,
        "frequency_penalty": {**NUMBER, "minimum": -2, "maximum": 2},
        "presence_penalty": {**NUMBER, "minimum": -2, "maximum": 2},
        "reasoning_effort": {"enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max"]},
        "tools": {"type": "array", "items": OBJECT},
        "tool_choice": {"anyOf": [{"enum": ["auto", "none", "required"]}, OBJECT]},
        "parallel_tool_calls": FLAG,
        "response_format": OBJECT,
        "n": {"const": 1},
        "stream": FLAG,
        "stream_options": {"type": "object", "properties": {"include_usage": FLAG}},
        "store": {**FLAG, "description": "Keep it, to be read later; false: no text of it is kept anywhere"},
        "metadata": {"type": "object", "additionalProperties": TEXT},
    },
    ["model", "messages"],
    {"model": MODEL, "messages": [{"role": "user", "content": "What is async Python?"}]},
)
COMPLETION: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": TEXT,
        "object": {"const": "chat.completion"},
        "created": COUNT,
        "model": TEXT,
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": COUNT,
                    "message": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"const": "assistant"},
                            "content": NULLABLE,
                            "refusal": NULLABLE,
                            "reasoning_content": TEXT,
                            "tool_calls": {"type": "array", "items": OBJECT},
                        },
                    },
                    "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter", "function_call"]},
                },
            },
        },
        "usage": OBJECT,
    },
}
CHUNKS = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"type": "object", "properties": {"object": {"const": "chat.completion.chunk"}}},
}
ANSWER = answer(COMPLETION, "With `stream`: Server-Sent Events `chat.completion.chunk` ..., then `[DONE]`")
ANSWER["content"]["text/event-stream"] = {"schema": CHUNKS}
ONE, LIST, MESSAGES = answer(COMPLETION), answer(listed(COMPLETION)), answer(listed(MESSAGE))
LABELS = {"type": ["object", "null"], "additionalProperties": TEXT}
METADATA = body({"metadata": LABELS}, ["metadata"], {"metadata": {"topic": "leases"}})
DELETED = answer({"type": "object", "properties": {"object": TEXT, "id": TEXT, "deleted": FLAG}})
_ID = "chatcmpl-01a20b5f-6f3e-7d3a-9a52-5f1c5d3f4f0e"
EXAMPLES["create_chat_completion"] = {
    "id": _ID,
    "object": "chat.completion",
    "created": 1795685400,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A way to wait without blocking.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10},
}
STREAMS["create_chat_completion"] = (
    f'data: {{"id": "{_ID}", "object": "chat.completion.chunk", '
    '"choices": [{"index": 0, "delta": {"content": "A "}, "finish_reason": null}]}\n\ndata: [DONE]\n\n'
)
_STORED = {**EXAMPLES["create_chat_completion"], "metadata": {"topic": "leases"}}
_ENDS = {"first_id": _ID, "last_id": _ID, "has_more": False}
EXAMPLES["get_chat_completion"] = EXAMPLES["update_chat_completion"] = _STORED
EXAMPLES["list_chat_completions"] = {"object": "list", "data": [_STORED], **_ENDS}
EXAMPLES["list_chat_completion_messages"] = {
    "object": "list",
    "data": [{"id": f"{_ID}-0", "role": "user", "content": "What is async Python?", "content_parts": None}],
    "first_id": f"{_ID}-0",
    "last_id": f"{_ID}-0",
    "has_more": False,
}
EXAMPLES["delete_chat_completion"] = {"object": "chat.completion.deleted", "id": _ID, "deleted": True}
BY_METADATA: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "Those that are labelled with all of these: `metadata[of]=x`.",
            "schema": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 512}},
        }
    ]
}
