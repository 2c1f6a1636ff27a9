from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse

from app.api.errors import documented
from app.api.leaving import hold_body, outcome_of
from app.api.negotiation import prefers_events
from app.api.pagination import link_next
from app.api.parameters import Filter, IdempotencyKey, LastEventId, Paging, PathId
from app.api.prompting import prompt_of
from app.api.routing import CallerFirst
from app.api.sse import EventStream, position_of
from app.cache.control import CacheControl
from app.dependencies import Images, Messages
from app.messages.generation import Reader
from app.messages.idempotency import IdempotentRequest
from app.models import MessageStatus
from app.schemas.message import MessageCreate, MessageRead, MessageRetry, SendMode
from app.schemas.message_options import MessageOptions
from app.services.message_service import MessageService
from app.services.prompts import Sent

router = APIRouter(tags=["messages"], route_class=CallerFirst)

# Fields that a request may have since requests are kept by their digest.
LATER = ("documents", "tool_results", *MessageOptions.model_fields)
EVENT_STREAM = {
    "type": "string",
    # Of the data of its events.
    "contentMediaType": "application/json",
    "contentSchema": {
        "anyOf": [
            {"$ref": f"#/components/schemas/{name}"}
            for name in (
                "MessageRead",
                "MessageCitations",
                "MessageReasoning",
                "MessageToolCall",
                "MessageDelta",
                "Problem",
            )
        ]
    },
}
EVENTS = {
    "description": "With `stream`, 200: Server-Sent Events `message` (MessageRead), with `documents`"
    " `citations` (MessageCitations), `reasoning` (MessageReasoning), `delta` (MessageDelta),"
    " `tool_call` (MessageToolCall) ..., then"
    " `completed` or `cancelled` (MessageRead) or `failed` (Problem)",
    "content": {"text/event-stream": {"schema": EVENT_STREAM}},
}
SAYS_CACHE = {
    "headers": {
        "X-Cache": {
            "description": "`hit`, `miss` or `bypass` (not looked up); where answers can be kept",
            "schema": {"type": "string", "enum": ["hit", "miss", "bypass"]},
        },
        "Age": {"description": "Of a hit, in seconds", "schema": {"type": "integer"}},
    }
}
ACCEPTED = {"model": MessageRead, "description": "With `background`: the pending message; `Location` shows its outcome"}


@router.post(
    "/messages",
    status_code=status.HTTP_201_CREATED,
    response_model=MessageRead,
    summary="Send prompt to LLM",
    responses={
        "2XX": EVENTS,  # not 200: Swagger UI and generated clients take the lowest status for the usual answer
        201: SAYS_CACHE,
        202: ACCEPTED,
        **documented(400, 401, 402, 403, 404, 409, 413, 422, 429, 501, 502, 503, 504),
    },
)
async def send_message(
    body: MessageCreate,
    service: Messages,
    images: Images,
    request: Request,
    response: Response,
    key: IdempotencyKey = None,
) -> MessageRead | Response:
    """Answers once the message has ended; with `stream` (or `Accept: text/event-stream`) as it is written.

    Where the tenant keeps answers (`cache_ttl_seconds`), an equal prompt is answered from those, and `X-Cache` says so;
    `Cache-Control: no-cache` asks the provider all the same, `no-store` keeps nothing either.

    The message is the server's from then on: a client that hangs up finds it at `GET /messages/{id}`. If the provider
    fails, the answer is a problem with a `message_id`: the message is kept as `failed`.
    """
    streams = _wants_events(body, request)
    sent = await service.send(
        await prompt_of(body, images, CacheControl.of(request.headers.getlist("Cache-Control")), streams=streams),
        None if key is None else _idempotent(key, body),
    )
    hold_body(request, sent)
    return await _answer(service, sent, body, request, response, streams=streams)


@router.get(
    "/messages",
    summary="List tenant messages (paginated)",
    responses=documented(401, 422, 503),
)
async def list_messages(
    service: Messages, page: Paging, narrowed: Filter, request: Request, response: Response
) -> list[MessageRead]:
    """The messages of the caller's tenant, newest first; the `Link` header points at the next page."""
    found = await service.list(page, narrowed)
    link_next(request, response, found)
    return [MessageRead.model_validate(row) for row in found.rows]


@router.get("/messages/{id}", summary="Get a message", responses=documented(401, 404, 422, 503))
async def get_message(message_id: PathId, service: Messages) -> MessageRead:
    """Any message of the caller's tenant, also one that failed or still runs."""
    return MessageRead.model_validate(await service.get(message_id))


@router.get(
    "/messages/{id}/stream",
    summary="Follow a message",
    response_class=Response,
    responses={200: EVENTS, 204: {"description": "The stream was read to its end"}, **documented(401, 404, 422, 503)},
)
async def stream_message(
    message_id: PathId, service: Messages, request: Request, last_event_id: LastEventId = None
) -> Response:
    """Its events from `Last-Event-ID` on, no text lost or repeated; in whichever process it runs."""
    reader = Reader()
    events = await service.resume(message_id, position_of(last_event_id), reader)
    if events is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)  # an EventSource would connect again for ever
    return EventStream(events, reader, _heartbeat(request))


@router.post(
    "/messages/{id}/cancel",
    summary="Cancel a message",
    response_model=MessageRead,
    responses={
        202: {**ACCEPTED, "description": "Asked for; it has not ended yet"},
        **documented(401, 403, 404, 409, 422, 503),
    },
)
async def cancel_message(message_id: PathId, service: Messages, request: Request) -> MessageRead | Response:
    """Stops the provider's call, whichever process makes it, and keeps the text so far. For its author and admins."""
    return _read(request, await service.cancel(message_id), status.HTTP_200_OK)


@router.post(
    "/messages/{id}/retry",
    summary="Retry a message",
    response_model=MessageRead,
    responses={202: ACCEPTED, **documented(400, 401, 402, 403, 404, 409, 413, 422, 429, 501, 502, 503, 504)},
)
async def retry_message(
    message_id: PathId, service: Messages, request: Request, response: Response, body: MessageRetry | None = None
) -> MessageRead | Response:
    """Answers a failed or cancelled message again, as `POST /messages` would. For its author and admins."""
    mode = body or MessageRetry()
    streams = _wants_events(mode, request)
    sent = await service.retry(message_id, streams=streams or mode.background, background=mode.background)
    return await _answer(service, sent, mode, request, response, streams=streams, waited=status.HTTP_200_OK)


@router.delete(
    "/messages/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a message",
    responses=documented(401, 403, 404, 409, 422, 503),
)
async def delete_message(message_id: PathId, service: Messages) -> None:
    """For its author and for admins; 409 while it is being answered. What it used stays in `/usage`."""
    await service.delete(message_id)


def _idempotent(key: str, body: MessageCreate) -> IdempotentRequest | None:
    """A request that says nothing of what came later is the one that it was before."""
    fields = MessageCreate.model_fields
    unsaid = {name for name in LATER if getattr(body, name) == fields[name].default}
    return IdempotentRequest.of(key, "POST /messages", body.model_dump(exclude=unsaid))


async def _answer(
    service: MessageService,
    sent: Sent,
    mode: SendMode,
    request: Request,
    response: Response,
    *,
    streams: bool,
    waited: int = status.HTTP_201_CREATED,
) -> MessageRead | Response:
    if streams:
        reader = Reader()
        stream = EventStream(service.events(sent, reader), reader, _heartbeat(request))
        _say_cache(stream, sent, hit=sent.cache == "hit")
        return stream
    if mode.background:
        accepted = _read(request, sent.row, waited, always_accepted=True)
        _say_cache(accepted, sent, hit=sent.cache == "hit")
        return accepted
    outcome = await outcome_of(service, sent, request)
    message = MessageRead.of(outcome.row, outcome.output)
    _say_cache(response, sent, hit=sent.cache == "hit" or (sent.cache == "miss" and message.cached))
    return message


def _say_cache(response: Response, sent: Sent, *, hit: bool) -> None:
    """As far as it is known when the answer begins: what waits for an equal prompt's answer is a miss until then."""
    if sent.cache is None:
        return
    response.headers["X-Cache"] = "hit" if hit else sent.cache
    if hit:
        response.headers["Age"] = str(sent.age)


def _read(request: Request, row: object, ended: int, *, always_accepted: bool = False) -> Response:
    message = MessageRead.model_validate(row)
    accepted = always_accepted or message.status == MessageStatus.PENDING
    return JSONResponse(
        message.model_dump(mode="json"),
        status.HTTP_202_ACCEPTED if accepted else ended,
        headers={"Location": f"{request.scope.get('root_path', '')}/messages/{message.id}"} if accepted else None,
    )


def _wants_events(mode: SendMode, request: Request) -> bool:
    return mode.stream or (not mode.background and prefers_events(request.headers.getlist("Accept")))


def _heartbeat(request: Request) -> float:
    seconds: float = request.app.state.settings.stream_heartbeat_seconds
    return seconds
