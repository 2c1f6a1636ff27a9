"""OpenAI's chat completions."""

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.parameters import IdempotencyKey
from app.api.v1.answering import outcome_of, stream_of
from app.api.v1.body import idempotent, read_object
from app.api.v1.chat import described
from app.api.v1.chat.parse import ChatRequest, chat_request
from app.api.v1.chat.render import ChatEncoder, completion
from app.api.v1.described import errors
from app.api.v1.fields import log_unknown
from app.api.v1.images import seen
from app.cache.control import CacheControl
from app.dependencies import Images, Messages
from app.services.prompts import Prompt

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    responses={200: described.ANSWER, **errors(400, 403, 404, 409, 413, 415, 502, 504)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=described.REQUEST,
)
async def create_chat_completion(
    service: Messages, images: Images, request: Request, key: IdempotencyKey = None
) -> Response:
    """As OpenAI answers, with `stream` as chunks. It is a message like any other: limited, budgeted, seen in the usage.

    Without `store` no text of it is kept, and it ends when its client leaves. What may be asked for again by its
    `Idempotency-Key` is stored where nothing else is said.
    """
    body = await read_object(request)
    asked = chat_request(body, stores=key is not None)
    log_unknown("chat", body)
    asked = replace(asked, items=await seen(asked.items, images))
    sent = await service.send(_prompt(asked, request), idempotent(request, key, "POST /v1/chat/completions"))
    if asked.streams:
        encoder = ChatEncoder(request.scope, with_usage=asked.with_usage, functions=asked.functions)
        return stream_of(request, service, sent, encoder)
    outcome = await outcome_of(request, service, sent)
    return JSONResponse(completion(outcome.row, outcome.output, functions=asked.functions))


def _prompt(asked: ChatRequest, request: Request) -> Prompt:
    return Prompt(
        asked.content,
        streams=asked.streams,
        cache=CacheControl.of(request.headers.getlist("Cache-Control")),
        items=asked.items,
        options=asked.options,
        model=asked.model,
        api="chat",
        stored=asked.stored,
        asks_to_be_stored=asked.asks_to_be_stored,
        metadata=asked.metadata,
    )
