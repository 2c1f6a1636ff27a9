"""The operations of this interface as the OpenAPI description has them."""

from typing import Any

from app.api.examples import CONVERSATION as CONVERSATION_ID
from app.api.examples import MESSAGE as MESSAGE_ID
from app.api.v1.described import EXAMPLES, answer, body, listed

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
INTEGER: dict[str, Any] = {"type": "integer"}
FLAG: dict[str, Any] = {"type": "boolean"}
OBJECT: dict[str, Any] = {"type": "object"}
OBJECTS: dict[str, Any] = {"type": "array", "items": OBJECT}
OR_NULL: dict[str, Any] = {"type": ["object", "null"]}
METADATA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 512},
    "maxProperties": 16,
}

RESPONSE_ID = f"resp_{MESSAGE_ID}"
SAID = {
    "id": f"msg_{MESSAGE_ID}_0",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "A way to wait.", "annotations": [], "logprobs": []}],
}
ASKED = {
    "id": f"msg_{MESSAGE_ID}_i0",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": "What is async Python?"}],
}
CREATED = {
    "id": RESPONSE_ID,
    "object": "response",
    "created_at": 1_795_600_000,
    "completed_at": 1_795_600_002,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "model": "small",
    "output": [SAID],
    "previous_response_id": None,
    "conversation": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "reasoning": {"effort": None, "summary": None},
    "truncation": "disabled",
    "safety_identifier": None,
    "prompt_cache_key": None,
    "service_tier": "default",
    "store": True,
    "background": False,
    "metadata": {},
    "usage": {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17,
    },
}
CONVERSATION = {
    "id": f"conv_{CONVERSATION_ID}",
    "object": "conversation",
    "created_at": 1_795_600_000,
    "metadata": {"topic": "Python"},
}
ITEMS = {
    "object": "list",
    "data": [SAID, ASKED],
    "first_id": SAID["id"],
    "last_id": ASKED["id"],
    "has_more": False,
}


def _of(example: dict[str, Any], title: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object that has all that its example has."""
    known = {"id": TEXT, "object": TEXT, "metadata": METADATA, **properties}
    return {
        "title": title,
        "type": "object",
        "required": list(example),
        "properties": {name: known.get(name, {}) for name in example},
    }


RESPONSE = _of(
    CREATED,
    "OpenAIResponse",
    status={"enum": ["in_progress", "completed", "incomplete", "cancelled", "failed"]},
    model=TEXT,
    output=OBJECTS,
    tools=OBJECTS,
    error=OR_NULL,
    usage=OR_NULL,
)
DELETED: dict[str, Any] = _of({"id": "", "object": "", "deleted": True}, "OpenAIDeleted", deleted=FLAG)
COUNTED: dict[str, Any] = _of({"object": "", "input_tokens": 0}, "OpenAIInputTokens", input_tokens=INTEGER)

WANTED = body(
    {
        "model": {**TEXT, "description": "One of `GET /v1/models`; left out: the caller's default."},
        "input": {"anyOf": [TEXT, OBJECTS], "description": "A text, or items: messages, calls and their outputs."},
        "instructions": {**TEXT, "description": "They open this call, and are not carried to the next."},
        "previous_response_id": TEXT,
        "conversation": {"anyOf": [TEXT, OBJECT]},
        "max_output_tokens": INTEGER,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "tools": {**OBJECTS, "description": "Functions; tools of other types are passed over."},
        "tool_choice": {"anyOf": [TEXT, OBJECT]},
        "parallel_tool_calls": FLAG,
        "text": OBJECT,
        "reasoning": OBJECT,
        "metadata": METADATA,
        "store": {**FLAG, "default": True, "description": "False: no text of it is kept, and nothing goes on from it."},
        "background": {**FLAG, "default": False},
        "stream": {**FLAG, "default": False},
        "include": {"type": "array", "items": TEXT},
    },
    ["input"],
    {"model": "small", "input": "What is async Python?"},
)
COUNT_WANTED = body({"model": TEXT, "input": {"anyOf": [TEXT, OBJECTS]}}, ["input"], {"input": "What is async Python?"})
CONVERSATION_WANTED = body(
    {"metadata": METADATA, "items": {**OBJECTS, "description": "Up to 20, to begin with."}},
    [],
    {"metadata": {"topic": "Python"}},
)
ITEMS_WANTED = body(
    {"items": {**OBJECTS, "minItems": 1, "maxItems": 20}},
    ["items"],
    {"items": [{"type": "message", "role": "user", "content": "What is async Python?"}]},
)
CONVERSATION_CHANGE = body({"metadata": METADATA}, ["metadata"], {"metadata": {"topic": "Python"}})
EVENTS = {"text/event-stream": {"schema": {"type": "string", "contentMediaType": "application/json"}}}

A_RESPONSE = answer(RESPONSE)
FOLLOWED = {
    "description": "Whole; with `stream` as Server-Sent Events, each with its `type` and a rising `sequence_number`",
    "content": {**A_RESPONSE["content"], **EVENTS},
}
A_DELETION, A_COUNT = answer(DELETED), answer(COUNTED)
A_CONVERSATION = answer(_of(CONVERSATION, "OpenAIConversation"))
AN_ITEM, SOME_ITEMS = answer(OBJECT), answer(listed(OBJECT))

EXAMPLES |= {
    **dict.fromkeys(("create_response", "get_response", "cancel_response"), CREATED),
    "delete_response": {"id": RESPONSE_ID, "object": "response", "deleted": True},
    "list_input_items": ITEMS | {"data": [ASKED], "first_id": ASKED["id"]},
    "count_input_tokens": {"object": "response.input_tokens", "input_tokens": 12},
    **dict.fromkeys(
        (
            "create_openai_conversation",
            "get_openai_conversation",
            "change_openai_conversation",
            "delete_conversation_item",
        ),
        CONVERSATION,
    ),
    "delete_openai_conversation": {"id": f"conv_{CONVERSATION_ID}", "object": "conversation.deleted", "deleted": True},
    "list_conversation_items": ITEMS,
    "create_conversation_items": ITEMS | {"data": [ASKED], "first_id": ASKED["id"]},
    "get_conversation_item": ASKED,
}
