"""The outermost layer: a request's id, client and log line, every answer's headers, the answer when all else failed."""

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_address import ClientAddress
from app.core.errors import AppError, UntrustedHost
from app.core.hosts import TrustedHosts
from app.core.ids import new_id
from app.core.response_headers import ResponseHeaders

MAX_HEADER_BYTES = 65_536
MAX_LENGTH_DIGITS = 18
# Asked by probes, which know an address and not a name; what they answer does not depend on it.
ANY_HOST = frozenset({"/health", "/health/ready"})
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
        max_body_bytes: int,
        client_address: ClientAddress,
        on_error: Callable[[Scope, int | AppError], ASGIApp],
        headers: ResponseHeaders,
        trusted_hosts: TrustedHosts | None = None,
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.client_address = client_address
        self.on_error = on_error
        self.headers = headers
        self.trusted_hosts = trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        request_id, refusal = self._read_headers(scope)
        state["request_id"] = request_id
        state["client_address"] = self.client_address.of(scope.get("client"), scope["headers"])
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        raw_request_id = request_id.encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self.headers.complete(message.get("headers", ()), raw_request_id)
                if standing := state.get("rate_limit"):
                    message["headers"].extend(standing.headers())
            await send(message)

        try:
            if refusal:
                await self.on_error(scope, refusal)(scope, receive, send_with_id)
            else:
                await self.app(scope, self._bounded(receive, state), send_with_id)
        except Exception:
            logger.exception("unexpected_error")
            if status:
                raise
            await self.on_error(scope, 500)(scope, receive, send_with_id)
        finally:
            _log(scope, status, time.perf_counter() - started)

    def _bounded(self, receive: Receive, state: dict[str, Any]) -> Receive:
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise HTTPException(413)
            if message["type"] == "http.disconnect" and "refusal" in state:
                raise HTTPException(state["refusal"])
            return message

        return receive_bounded

    def _read_headers(self, scope: Scope) -> tuple[str, int | AppError]:
        """The request id, and the status or error to refuse the request with, or 0."""
        request_id, size, body_size = b"", 0, b""
        hosts = []
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"x-request-id":
                request_id = value
            elif name == b"content-length":
                body_size = value
            elif name == b"host":
                hosts.append(value)
        refusal: int | AppError = scope["state"].get("refusal", 0)
        if refusal:
            pass
        elif size > MAX_HEADER_BYTES:
            refusal = 431
        elif self.trusted_hosts and scope["path"] not in ANY_HOST and not self.trusted_hosts.allow(hosts):
            refusal = UntrustedHost()
        elif body_size.isdigit() and (len(body_size) > MAX_LENGTH_DIGITS or int(body_size) > self.max_body_bytes):
            refusal = 413
        return (request_id.decode() if _SANE_REQUEST_ID.fullmatch(request_id) else new_id()), refusal


def _log(scope: Scope, status: int, seconds: float) -> None:
    principal = scope["state"].get("principal")
    route = scope.get("route")
    logger.info(
        "request",
        method=scope["method"],
        # The template, never the path: a path may hold what the caller typed.
        route=getattr(route, "path", None),
        status=status,
        duration_ms=round(seconds * 1000, 2),
        tenant_id=principal.tenant_id if principal else None,
        user_id=principal.user_id if principal else None,
        client=scope["state"].get("client_address"),
    )
