"""Anthropic's messages."""

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.parameters import IdempotencyKey
from app.api.v1.answering import outcome_of, stream_of
from app.api.v1.anthropic import described
from app.api.v1.anthropic.parse import AnthropicRequest, anthropic_request
from app.api.v1.anthropic.render import MessageEncoder, message
from app.api.v1.body import idempotent, read_object
from app.api.v1.fields import log_unknown
from app.api.v1.images import seen
from app.cache.control import CacheControl
from app.dependencies import Images, Messages
from app.services.prompts import Prompt

router = APIRouter(prefix="/v1", tags=["anthropic"])


@router.post(
    "/messages",
    summary="Answer a conversation",
    responses={200: described.ANSWER, **described.errors(400, 403, 404, 409, 413, 415, 502, 504)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=described.REQUEST,
)
async def create_anthropic_message(
    service: Messages, images: Images, request: Request, key: IdempotencyKey = None
) -> Response:
    """As Anthropic answers, with `stream` as its events. It is a message like any other: limited, budgeted, counted.

    No text of it is kept, and it ends when its client leaves; one that is sent under an `Idempotency-Key` is kept, to
    be answered again.
    """
    body = await read_object(request)
    asked = anthropic_request(body)
    log_unknown("anthropic", body)
    asked = replace(asked, items=await seen(asked.items, images))
    sent = await service.send(_prompt(asked, request, key), idempotent(request, key, "POST /v1/messages"))
    if asked.streams:
        return stream_of(request, service, sent, MessageEncoder(request.scope))
    outcome = await outcome_of(request, service, sent)
    return JSONResponse(message(outcome.row, outcome.output))


@router.post(
    "/messages/count_tokens",
    summary="Count the tokens of a conversation",
    responses={200: described.COUNT, **described.errors(400, 403, 413, 415)},
    response_model=None,
    openapi_extra=described.COUNT_REQUEST,
)
async def count_anthropic_tokens(service: Messages, request: Request) -> dict[str, int]:  # noqa: ARG001 - it says who may
    """About as many as a model reads of it: nobody is asked, and nothing is billed."""
    body = await read_object(request)
    asked = anthropic_request(body, counts=True)
    log_unknown("anthropic", body)
    return {"input_tokens": asked.tokens}


def _prompt(asked: AnthropicRequest, request: Request, key: str | None) -> Prompt:
    return Prompt(
        asked.content,
        streams=asked.streams,
        cache=CacheControl.of(request.headers.getlist("Cache-Control")),
        items=asked.items,
        options=asked.options,
        model=asked.model,
        api="anthropic",
        stored=key is not None,
        instructions=asked.system,
    )
