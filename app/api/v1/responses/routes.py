"""`/v1/responses`: the messages of the service as OpenAI's Responses interface has them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.leaving import hold_body
from app.api.parameters import IdempotencyKey, PathId
from app.api.routing import CallerFirst
from app.api.v1.answering import outcome_of, stream_of
from app.api.v1.body import idempotent, read_object
from app.api.v1.described import errors
from app.api.v1.fields import log_unknown
from app.api.v1.images import seen
from app.api.v1.responses.counting import count
from app.api.v1.responses.described import A_COUNT, A_DELETION, A_RESPONSE, COUNT_WANTED, FOLLOWED, SOME_ITEMS, WANTED
from app.api.v1.responses.events import FROM_THE_BEGINNING, ResponseEvents
from app.api.v1.responses.ids import message_id_of
from app.api.v1.responses.lists import Order, page_of_items
from app.api.v1.responses.references import resolved
from app.api.v1.responses.request import SEAL, read_request
from app.api.v1.responses.resource import resource
from app.api.v1.responses.shown import shown
from app.api.v1.responses.streaming import ResponsesEncoder
from app.api.v1.responses.writing import asked_of
from app.api.v1.stream import DialectStream
from app.core.errors import NotFound
from app.dependencies import Images, Messages
from app.messages.contents import output_of
from app.messages.generation import Reader
from app.models.rows import MessageRow
from app.services.message_service import MessageService

router = APIRouter(prefix="/v1/responses", tags=["openai"], route_class=CallerFirst)
Include = Annotated[Sequence[str], Query(alias="include[]")]


@router.post(
    "",
    summary="Create a response",
    responses={200: FOLLOWED, **errors(400, 403, 404, 409, 413, 415, 502, 504)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=WANTED,
)
async def create_response(request: Request, service: Messages, images: Images, key: IdempotencyKey = None) -> Response:
    asked = read_request(await read_object(request))
    if asked.previous_id is not None:
        service.require_reading()  # the model says what it reads there
    items = await resolved(service, asked.items, images.hold)
    items = await seen(items, images)
    sent = await service.send(asked.prompt(items), idempotent(request, key, "POST /v1/responses"))
    repeated = shown(asked.options, asked.instructions, asked.extra)
    if asked.streams:
        events = ResponseEvents(repeated, with_seal=asked.with_seal)
        return stream_of(request, service, sent, ResponsesEncoder(events, request.scope))
    if asked.background:
        hold_body(request, sent)
        return JSONResponse(resource(sent.row, repeated, output_of(sent.row), with_seal=asked.with_seal))
    outcome = await outcome_of(request, service, sent)
    return JSONResponse(resource(outcome.row, repeated, outcome.output, with_seal=asked.with_seal))


@router.post(
    "/input_tokens",
    summary="Estimate the input tokens of a response",
    responses={200: A_COUNT, **errors(400, 403, 413, 415)},
    response_class=JSONResponse,
    response_model=None,
    openapi_extra=COUNT_WANTED,
)
async def count_input_tokens(request: Request, _: Messages) -> JSONResponse:
    """Of what is sent, about as a common tokenizer counts; nothing is stored, and no provider is asked."""
    fields = await read_object(request)
    tokens = count(fields)
    log_unknown("responses", fields)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})


@router.get(
    "/{id}",
    summary="Get a response, or follow it",
    responses={200: FOLLOWED, **errors(400, 403, 404)},
    response_class=JSONResponse,
    response_model=None,
)
async def get_response(
    response_id: PathId,
    request: Request,
    service: Messages,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=-1, le=2**63 - 1)] = None,
    include: Include = (),
) -> Response:
    row = await _find(service, response_id)
    asked = await service.request_of(row.id)
    repeated = shown(asked.options, asked.instructions, asked.extra)
    with_seal = asked.extra.get("seal", False) or SEAL in include
    if not stream:
        return JSONResponse(resource(row, repeated, output_of(row), with_seal=with_seal))
    after = FROM_THE_BEGINNING if starting_after is None else starting_after
    reader = Reader()
    events = await service.resume(row.id, None, reader)
    assert events is not None
    encoder = ResponsesEncoder(ResponseEvents(repeated, with_seal=with_seal, after=after), request.scope)
    return DialectStream(events, reader, encoder, _heartbeat(request))


@router.delete(
    "/{id}",
    summary="Delete a response",
    responses={200: A_DELETION, **errors(400, 403, 404, 409)},
    response_class=JSONResponse,
    response_model=None,
)
async def delete_response(response_id: PathId, service: Messages) -> Response:
    row = await _find(service, response_id)
    await service.delete(row.id)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@router.post(
    "/{id}/cancel",
    summary="Cancel a response",
    responses={200: A_RESPONSE, **errors(400, 403, 404, 409)},
    response_class=JSONResponse,
    response_model=None,
)
async def cancel_response(response_id: PathId, service: Messages) -> Response:
    row = await _find(service, response_id)
    asked = await service.request_of(row.id)
    row = await service.cancel(row.id)
    repeated = shown(asked.options, asked.instructions, asked.extra)
    return JSONResponse(resource(row, repeated, output_of(row), with_seal=asked.extra.get("seal", False)))


@router.get(
    "/{id}/input_items",
    summary="List what a response was asked with",
    responses={200: SOME_ITEMS, **errors(400, 403, 404)},
    response_class=JSONResponse,
    response_model=None,
)
async def list_input_items(
    response_id: PathId,
    service: Messages,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
    after: str | None = None,
) -> Response:
    row = await _find(service, response_id)
    asked = await service.request_of(row.id)
    return JSONResponse(page_of_items(asked_of(asked.by_place, row.id), limit, order, after))


async def _find(service: MessageService, response_id: str) -> MessageRow:
    row = await service.get(message_id_of(response_id))
    if row.api != "responses" or not row.stored:
        raise NotFound
    return row


def _heartbeat(request: Request) -> float:
    seconds: float = request.app.state.settings.stream_heartbeat_seconds
    return seconds
