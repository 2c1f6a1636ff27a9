"""`/v1/conversations`: the conversations of the service as OpenAI's clients have them.

What is said in one comes by responses and by messages, and goes with them. What a client adds itself it may take away.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from app.api.parameters import IdempotencyKey, PathId
from app.api.routing import CallerFirst
from app.api.v1.body import idempotent, read_object
from app.api.v1.described import errors
from app.api.v1.fields import Fields, log_unknown
from app.api.v1.images import seen
from app.api.v1.responses.described import (
    A_CONVERSATION,
    A_DELETION,
    AN_ITEM,
    CONVERSATION_CHANGE,
    CONVERSATION_WANTED,
    ITEMS_WANTED,
    SOME_ITEMS,
)
from app.api.v1.responses.ids import CONVERSATION, ItemId, conversation_id_of
from app.api.v1.responses.lists import Order, listed, page_of_items
from app.api.v1.responses.reading import Reference, read_items
from app.api.v1.responses.request import read_metadata
from app.api.v1.responses.writing import asked_of, output_of
from app.core.errors import NotFound
from app.core.items import Item, Message, words_of
from app.dependencies import Conversations, Images, ItemsOfConversations, WhatWasSaid
from app.models.rows import ConversationRow
from app.services.said_service import Said, SaidService

router = APIRouter(prefix="/v1/conversations", tags=["openai"], route_class=CallerFirst)
MAX_NEW = 20
NOWHERE = -1
"""What an answer wrote has no place among what was asked."""


@router.post(
    "",
    summary="Create a conversation for responses",
    responses={200: A_CONVERSATION, **errors(400, 403, 409, 413, 415)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=CONVERSATION_WANTED,
)
async def create_openai_conversation(
    request: Request, service: Conversations, images: Images, key: IdempotencyKey = None
) -> JSONResponse:
    """It may begin with up to 20 `items`; system and developer messages before others open each of its responses."""
    fields = await read_object(request)
    items, metadata = _new_items(fields), read_metadata(fields)
    log_unknown("conversations", fields)
    once = idempotent(request, key, "POST /v1/conversations")
    opening = list(takewhile(_is_system, items))
    prompt = "\n\n".join(map(words_of, opening)) or None
    others = await seen(items[len(opening) :], images)
    return JSONResponse(_conversation(await service.create(None, prompt, once, metadata, others)))


@router.get(
    "/{id}",
    summary="Get a conversation of responses",
    responses={200: A_CONVERSATION, **errors(400, 403, 404)},
    response_class=JSONResponse,
    response_model=None,
)
async def get_openai_conversation(conversation_id: PathId, service: Conversations) -> JSONResponse:
    return JSONResponse(_conversation(await service.get(conversation_id_of(conversation_id))))


@router.post(
    "/{id}",
    summary="Change the metadata of a conversation",
    responses={200: A_CONVERSATION, **errors(400, 403, 404, 413, 415)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=CONVERSATION_CHANGE,
)
async def change_openai_conversation(conversation_id: PathId, request: Request, service: Conversations) -> JSONResponse:
    fields = await read_object(request)
    metadata = read_metadata(fields)
    log_unknown("conversations", fields)
    return JSONResponse(
        _conversation(await service.change(conversation_id_of(conversation_id), {"metadata": metadata}))
    )


@router.delete(
    "/{id}",
    summary="Delete a conversation of responses",
    responses={200: A_DELETION, **errors(400, 403, 404, 409)},
    response_class=JSONResponse,
    response_model=None,
)
async def delete_openai_conversation(conversation_id: PathId, service: Conversations) -> JSONResponse:
    """With the responses in it."""
    await service.delete(conversation_id_of(conversation_id))
    return JSONResponse({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


@router.get(
    "/{id}/items",
    summary="List what was said in a conversation",
    responses={200: SOME_ITEMS, **errors(400, 403, 404)},
    response_class=JSONResponse,
    response_model=None,
)
async def list_conversation_items(
    conversation_id: PathId,
    service: WhatWasSaid,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> JSONResponse:
    start = None
    if after is not None:
        named = ItemId.read(after)
        start = named.message_id if named else after
    # Each turn has an item at least, and the first may be behind the reader.
    wanted = limit + 2
    turns, more = await service.turns(conversation_id_of(conversation_id), wanted, start, newest_first=order == "desc")
    items = [item for said in (reversed(turns) if order == "desc" else turns) for item in _items(said)]
    return JSONResponse(page_of_items(items, limit, order, after, more=more))


@router.post(
    "/{id}/items",
    summary="Add items to a conversation",
    responses={200: SOME_ITEMS, **errors(400, 403, 404, 409, 413, 415)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=ITEMS_WANTED,
)
async def create_conversation_items(
    conversation_id: PathId,
    request: Request,
    service: ItemsOfConversations,
    images: Images,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Up to 20, at its end, for the responses that follow; no model is asked. A call comes together with its output."""
    fields = await read_object(request)
    named = _new_items(fields) or fields.missing("items")
    log_unknown("conversations", fields)
    items = await seen(named, images)
    once = idempotent(request, key, f"POST /v1/conversations/{conversation_id}/items")
    made = await service.add(conversation_id_of(conversation_id), items, once)
    return JSONResponse(listed(asked_of(dict(enumerate(items)), made), has_more=False))


@router.delete(
    "/{id}/items/{item_id}",
    summary="Delete an item of a conversation",
    responses={200: A_CONVERSATION, **errors(400, 403, 404, 409)},
    response_class=JSONResponse,
    response_model=None,
)
async def delete_conversation_item(
    conversation_id: PathId, item_id: str, service: ItemsOfConversations
) -> JSONResponse:
    """One that was added. What a model was asked and said goes with its response, and a call stays with its output."""
    named = ItemId.read(item_id)
    if named is None:
        raise NotFound
    place = named.index if named.asked else NOWHERE
    left = await service.take_away(conversation_id_of(conversation_id), named.message_id, place)
    return JSONResponse(_conversation(left))


@router.get(
    "/{id}/items/{item_id}",
    summary="Get what was said in a conversation",
    responses={200: AN_ITEM, **errors(400, 403, 404)},
    response_class=JSONResponse,
    response_model=None,
)
async def get_conversation_item(conversation_id: PathId, item_id: str, service: WhatWasSaid) -> JSONResponse:
    return JSONResponse(await _item(service, conversation_id, item_id))


async def _item(service: SaidService, conversation_id: str, item_id: str) -> dict[str, Any]:
    named = ItemId.read(item_id)
    if named is None:
        raise NotFound
    turns, _ = await service.turns(conversation_id_of(conversation_id), 1, named.message_id, newest_first=False)
    found = next((item for said in turns for item in _items(said) if item["id"] == item_id), None)
    if found is None:
        raise NotFound
    return found


def _new_items(fields: Fields) -> list[Item]:
    fields.list("items", MAX_NEW)
    items: list[Item] = []
    for number, item in enumerate(read_items(fields, "items")):
        if isinstance(item, Reference):
            fields.refuse(f"items[{number}]", "what is stored is not named here: send the item", "unsupported_value")
        items.append(item)
    return items


def _is_system(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "system"


def _conversation(row: ConversationRow) -> dict[str, Any]:
    return {
        "id": CONVERSATION + row.id,
        "object": "conversation",
        "created_at": int(row.created_at.timestamp()),
        "metadata": row.metadata or {},
    }


def _items(said: Said) -> Sequence[dict[str, Any]]:
    return [*asked_of(said.asked, said.message_id), *output_of(said.output, said.message_id, with_seal=True)]
