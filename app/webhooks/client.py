"""Sends webhooks, signed as https://www.standardwebhooks.com says, to public addresses only."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import httpcore2
import structlog

from app import __version__
from app.observability import tracing
from app.webhooks.guard import AddressRefused, GuardedBackend, HostNotFound, Network
from app.webhooks.url import Target, parse_url

MAX_CONNECTIONS = 16
MAX_RESPONSE_BYTES = 4096
USER_AGENT = f"llm-saas-backend-webhooks/{__version__}"

# In this order: some are kinds of others.
_CODES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError, httpcore2.TimeoutException), "timeout"),
    ((ssl.SSLError,), "tls_failed"),
    ((HostNotFound,), "host_not_found"),
    ((httpcore2.ConnectError,), "connect_failed"),
    ((httpcore2.NetworkError, OSError), "connection_lost"),
    ((httpcore2.RemoteProtocolError,), "invalid_response"),
)

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one attempt.

    `final`: another one would not help. `reason` is a code, never the receiver's words.
    """

    ok: bool
    final: bool
    reason: str


class WebhookClient:
    """One for the life of the process: it owns the connections, the look-ups and the certificates."""

    def __init__(self, allowed_networks: tuple[Network, ...] = (), timeout: float = 10.0) -> None:
        self._allowed = allowed_networks
        self._timeout = timeout
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._backend = GuardedBackend(self._allowed)
        self._pool = httpcore2.AsyncConnectionPool(
            # Made once: without it httpcore reads the certificates anew for every connection.
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            # A kept connection would be used again without its address being checked again.
            max_keepalive_connections=0,
            network_backend=self._backend,
        )

    async def deliver(self, url: str, message_id: str, body: bytes, secrets: Sequence[bytes]) -> Delivery:
        """Send once, signed with each secret. Raises nothing but cancellation.

        The time runs from when a connection is free: a queue of ours is not the receiver's failure.
        """
        try:
            target = parse_url(url, self._allowed)
        except ValueError as error:
            return _refused(error)
        if not secrets or b"" in secrets:
            return Delivery(ok=False, final=False, reason="no_secret")
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout):
                    return _judged(await self._post(target, message_id, body, secrets))
            except AddressRefused as error:
                return _refused(error)
            except Exception as error:
                reason = _code_of(error)
                if reason == "internal_error":
                    logger.exception("webhook_delivery_broke", message_id=message_id)
                return Delivery(ok=False, final=False, reason=reason)

    async def _post(self, target: Target, message_id: str, body: bytes, secrets: Sequence[bytes]) -> int:
        timestamp = str(int(time.time()))
        headers: dict[bytes | str, bytes | str] = {
            "Host": target.authority,
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Connection": "close",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signatures(message_id, timestamp, body, secrets),
        }
        headers.update({name: value for name, value in tracing.headers().items()})  # noqa: C416 - wider types
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        limits = {"timeout": {"connect": self._timeout}}
        async with self._pool.stream("POST", url, headers=headers, content=body, extensions=limits) as response:
            # A failure is one by its status alone; an acceptance counts once it was said to its end.
            if 200 <= response.status < 300:
                await _read(response)
            return response.status

    async def close(self) -> None:
        await self._pool.aclose()
        self._backend.close()


def signatures(message_id: str, timestamp: str, body: bytes, secrets: Sequence[bytes]) -> str:
    """The value of `webhook-signature`. While a secret is being replaced there are two, and either one verifies."""
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(secret, content, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


async def _read(response: httpcore2.Response) -> None:
    """Read and forget, at most MAX_RESPONSE_BYTES (and what came with them in one piece)."""
    left = MAX_RESPONSE_BYTES
    async with aclosing(response.aiter_stream()) as parts:
        async for part in parts:
            left -= len(part)
            if left <= 0:
                return


def _refused(error: ValueError) -> Delivery:
    reason = "address_refused" if isinstance(error, AddressRefused) else "invalid_url"
    return Delivery(ok=False, final=True, reason=reason)


def _judged(status: int) -> Delivery:
    if 200 <= status < 300:
        return Delivery(ok=True, final=True, reason=f"http_{status}")
    return Delivery(ok=False, final=status == 410, reason=f"http_{status}")


def _code_of(error: Exception) -> str:
    # httpcore raises `from None`, which leaves the context alone.
    if isinstance(error.__context__, ssl.SSLError):
        return "tls_failed"
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), "internal_error")
