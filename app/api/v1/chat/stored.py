"""OpenAI's chat completions that were stored."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request

from app.api.v1.body import read_object
from app.api.v1.chat import described
from app.api.v1.chat.render import PREFIX, completion, tool_calls
from app.api.v1.dependencies import ChatCompletions
from app.api.v1.described import errors
from app.core.errors import InvalidRequest
from app.core.items import Image, Item, Message, Reasoning, Text, ToolCall, ToolResult
from app.messages.contents import output_of
from app.messages.log import storable
from app.models.rows import MessageRow
from app.services.stored_chats import ChatFilter

router = APIRouter(prefix="/v1", tags=["openai"])

MAX_LIMIT = 100
MAX_LABELS, MAX_KEY, MAX_VALUE = 16, 64, 512
LABEL = re.compile(rf"metadata\[(.{{1,{MAX_KEY}}})\]", re.DOTALL)
ById = Annotated[str, Path(alias="id", max_length=100)]
After = Annotated[str | None, Query(max_length=100, description="The id of the last one of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Order = Literal["asc", "desc"]


@router.get(
    "/chat/completions",
    summary="List stored chat completions",
    responses={200: described.LIST, **errors(400, 403, 404)},
    response_model=None,
    openapi_extra=described.BY_METADATA,
)
async def list_chat_completions(
    service: ChatCompletions,
    request: Request,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    model: Annotated[str | None, Query(max_length=255, description="By which it was answered.")] = None,
) -> dict[str, Any]:
    """Those of the caller's tenant that it sees, oldest first unless told otherwise."""
    narrowed = ChatFilter(model and storable(model), _labels(request.query_params.multi_items()))
    found, more = await service.list(after and _own(after), limit, narrowed, newest_first=order == "desc")
    return _page([_shown(row) for row in found], more=more)


@router.get(
    "/chat/completions/{id}",
    summary="Get a stored chat completion",
    responses={200: described.ONE, **errors(400, 403, 404)},
    response_model=None,
)
async def get_chat_completion(completion_id: ById, service: ChatCompletions) -> dict[str, Any]:
    """As it was answered."""
    return _shown(await service.get(_own(completion_id)))


@router.get(
    "/chat/completions/{id}/messages",
    summary="The messages of a stored chat completion",
    responses={200: described.MESSAGES, **errors(400, 403, 404)},
    response_model=None,
)
async def list_chat_completion_messages(
    completion_id: ById, service: ChatCompletions, after: After = None, limit: Limit = 20, order: Order = "asc"
) -> dict[str, Any]:
    """What was asked."""
    asked = await service.request_of(_own(completion_id))
    shown = [{"id": f"{PREFIX}{_own(completion_id)}-{n}", **said} for n, said in enumerate(_messages(asked.items))]
    shown = shown if order == "asc" else shown[::-1]
    ids = [message["id"] for message in shown]
    begin = ids.index(after) + 1 if after in ids else 0
    return _page(shown[begin : begin + limit], more=begin + limit < len(shown))


@router.post(
    "/chat/completions/{id}",
    summary="Label a stored chat completion",
    responses={200: described.ONE, **errors(400, 403, 404, 413, 415)},
    response_model=None,
    openapi_extra=described.METADATA,
)
async def update_chat_completion(completion_id: ById, service: ChatCompletions, request: Request) -> dict[str, Any]:
    """Its `metadata` is replaced. For its author and for admins."""
    body = await read_object(request)
    metadata = body.pairs("metadata", most=MAX_LABELS, most_key=MAX_KEY, most_value=MAX_VALUE)
    return _shown(await service.label(_own(completion_id), metadata))


@router.delete(
    "/chat/completions/{id}",
    summary="Delete a stored chat completion",
    responses={200: described.DELETED, **errors(400, 403, 404)},
    response_model=None,
)
async def delete_chat_completion(completion_id: ById, service: ChatCompletions) -> dict[str, Any]:
    """For its author and for admins. What it used stays in the usage."""
    await service.delete(_own(completion_id))
    return {"object": "chat.completion.deleted", "id": f"{PREFIX}{_own(completion_id)}", "deleted": True}


def _labels(asked: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """Of `metadata[of]=x`, as it was labelled; None where nothing is asked of it."""
    labels: dict[str, str] = {}
    for name, value in asked:
        if name != "metadata" and not name.startswith("metadata["):
            continue
        found = LABEL.fullmatch(name)
        if found is None or len(value) > MAX_VALUE or len(labels) == MAX_LABELS:
            raise InvalidRequest("metadata: is asked for as metadata[key]=value, up to 16 of them", "metadata")
        labels[storable(found[1])] = storable(value)
    return labels or None


def _own(completion_id: str) -> str:
    return completion_id.removeprefix(PREFIX).lower()


def _shown(row: MessageRow) -> dict[str, Any]:
    return {**completion(row, output_of(row)), "metadata": row.metadata or {}}


def _page(shown: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return {"object": "list", "data": list(shown), **ends, "has_more": more}


def _messages(items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    """What a model thinks, says and calls in one go is one message there."""
    turn: dict[str, Any] = {}
    for item in items:
        if isinstance(item, Reasoning | ToolCall) or (isinstance(item, Message) and item.role == "assistant"):
            if "tool_calls" in turn and not isinstance(item, ToolCall):
                yield turn
                turn = {}
            turn = turn or {"role": "assistant", "content": None, "content_parts": None}
            _add(turn, item)
            continue
        if turn:
            yield turn
            turn = {}
        yield _said(item)
    if turn:
        yield turn


def _add(turn: dict[str, Any], item: Item) -> None:
    if isinstance(item, ToolCall):
        turn.setdefault("tool_calls", []).extend(tool_calls([item]))
    elif isinstance(item, Reasoning):
        turn["reasoning_content"] = turn.get("reasoning_content", "") + item.text
    elif isinstance(item, Message):
        turn["content"] = (turn["content"] or "") + item.text


def _said(item: Message | ToolResult) -> dict[str, Any]:
    parts = None if isinstance(item.content, str) else [_part(part) for part in item.content]
    said = {"content": item.text, "content_parts": parts}
    if isinstance(item, ToolResult):
        return {"role": "tool", "tool_call_id": item.call_id, **said}
    return {"role": item.role, **said}


def _part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}
