"""The outermost layer: a request's id, client and log line, every answer's headers, the answer when all else failed."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.bodies import BodiesInFlight, HeldBody
from app.api.http.client_address import ClientAddress
from app.api.http.paths import is_anthropic, is_v1, own_path
from app.api.http.request_bounds import RequestBounds, RequestHead
from app.api.http.response_headers import ResponseHeaders
from app.api.v1.headers import v1_headers, with_bearer
from app.core.errors import AppError
from app.core.ids import new_id
from app.observability import tracing
from app.observability.instruments import REQUEST_SECONDS, REQUESTS
from app.observability.tracing import RequestSpan

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
UNMATCHED = "unmatched"
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

logger = structlog.get_logger()


class RequestContextMiddleware:
    """Give the request its id, log it on one line, and turn an unexpected exception into a problem.

    `X-Request-ID` is taken from the caller if sane and made otherwise. A body whose declared length is too large is
    refused unread, one of unknown length as soon as it grows too large. What the server could not read, it hands over
    with a status under `refusal` in the request's state: at once, or when the body that it belongs to is asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        bounds: RequestBounds,
        client_address: ClientAddress,
        on_error: Callable[[Scope, int | AppError], ASGIApp],
        headers: ResponseHeaders,
        bodies: BodiesInFlight,
    ) -> None:
        self.app = app
        self.bounds = bounds
        self.client_address = client_address
        self.on_error = on_error
        self.headers = headers
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        head = RequestHead.of(scope)
        request_id = _identify(head, state)
        state["client_address"] = self.client_address.of(scope.get("client"), scope["headers"])
        status, method = 0, scope["method"]
        path = own_path(scope)
        state["v1"], held = is_v1(path), HeldBody(self.bodies)
        state["body"] = held
        if is_anthropic(path):
            scope = {**scope, "headers": with_bearer(scope["headers"])}
        span = tracing.begin_request(head.values)
        raw_request_id = request_id.encode()
        if method == "HEAD":  # a GET whose body is not sent
            scope = {**scope, "method": "GET"}
            send = _without_body(send)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self.headers.complete(message.get("headers", ()), raw_request_id)
                if status == 204:  # there is nothing whose type it could say
                    message["headers"] = [header for header in message["headers"] if header[0] != b"content-type"]
                message["headers"].extend(_own_headers(state, started))
            await send(message)

        try:
            if refusal := self.bounds.refusal(scope, head):
                await self.on_error(scope, refusal)(scope, receive, send_with_id)
            else:
                await self.app(scope, self._bounded(receive, scope, head.declared), send_with_id)
        except Exception:
            logger.exception("unexpected_error")
            if status:
                raise
            await self.on_error(scope, 500)(scope, receive, send_with_id)
        finally:
            held.answered()
            _note(scope, method, status, time.perf_counter() - started, span)

    def _bounded(self, receive: Receive, scope: Scope, declared: int) -> Receive:
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received and received > self.bounds.body_bytes(scope):
                raise HTTPException(413)
            if received and scope["state"]["v1"]:
                principal = scope["state"].get("principal")
                scope["state"]["body"].grow_to(max(received, declared), principal.tenant_id if principal else "")
            if message["type"] == "http.disconnect" and (status := scope["state"].get("refusal")):
                raise HTTPException(status)
            return message

        return receive_bounded


def _identify(head: RequestHead, state: dict[str, Any]) -> str:
    """The request's id: the caller's if it sent a sane one. Ours stands beside it: theirs may be made up."""
    own = new_id()
    given = head.values.get(b"x-request-id", b"")
    request_id = given.decode() if _SANE_REQUEST_ID.fullmatch(given) else own
    state["request_id"], state["own_request_id"] = request_id, own
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    if request_id is not own:
        structlog.contextvars.bind_contextvars(own_request_id=own)
    return request_id


def _own_headers(state: dict[str, Any], started: float) -> Iterator[tuple[bytes, bytes]]:
    for of in ("rate_limit", "token_limit"):
        if standing := state.get(of):
            yield from standing.headers()
    if state["v1"]:
        yield from v1_headers(state, started)


def _without_body(send: Send) -> Send:
    """The answer ends with its head; an application that streams hears of a disconnect."""
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if ended:
            return
        if message["type"] == "http.response.body":
            ended, message = True, {"type": "http.response.body", "body": b""}
        await send(message)

    return send_head


def _note(scope: Scope, method: str, status: int, seconds: float, span: RequestSpan | None) -> None:
    """What there is to say of a request that was answered: the log's line, and what an operator asked to be counted."""
    _log(scope, method, status, seconds)
    if not REQUESTS.on and span is None:
        return
    route = getattr(scope.get("route"), "path", None)
    method = method if method in METHODS else "OTHER"  # it is the caller's word
    REQUESTS.add(method, route or UNMATCHED, str(status))
    REQUEST_SECONDS.observe(seconds, method, route or UNMATCHED)
    if span is not None:
        span.end(method, route, status, scope["state"]["own_request_id"])


def _log(scope: Scope, method: str, status: int, seconds: float) -> None:
    principal = scope["state"].get("principal")
    route = scope.get("route")
    logger.info(
        "request",
        method=method,
        # The template, never the path: a path may hold what the caller typed.
        route=getattr(route, "path", None),
        status=status,
        duration_ms=round(seconds * 1000, 2),
        tenant_id=principal.tenant_id if principal else None,
        user_id=principal.user_id if principal else None,
        client=scope["state"].get("client_address"),
    )
