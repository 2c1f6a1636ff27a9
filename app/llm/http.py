"""What the adapters share that speak HTTP: a client that no answer can fill the memory through, and its failures."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx2
import structlog

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable

MAX_BYTES = 16 * 2**20
BYTES_PER_TOKEN = 1024
"""A streamed token travels in a chunk of some 300 bytes."""

# Thousands of streams may run at once, and what bounds them is counted elsewhere, for each tenant.
LIMITS = httpx2.Limits(max_connections=20_000, max_keepalive_connections=256)
UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading the answer of a server raises that speaks its protocol in name only."""

STATUSES = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error inside an answer comes after the status 200: its name says what it would have been."""

logger = structlog.get_logger()


class AnswerTooLarge(ValueError):
    """Not a transport error: the OpenAI SDK would ask for the same again."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's stream that raises once more than `left` bytes were read."""

    def __init__(self, stream: httpx2.AsyncByteStream, left: int) -> None:
        self._stream = stream
        self._left = left

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._stream.__aiter__()
        try:
            async for part in parts:
                self._left -= len(part)
                if self._left < 0:
                    raise AnswerTooLarge
                yield part
        finally:
            # Left to the garbage collector, it would end in a task of its own.
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    async def aclose(self) -> None:
        await self._stream.aclose()


def bounded_client(timeout: float, max_bytes: int = MAX_BYTES) -> httpx2.AsyncClient:
    """A client that reads at most `max_bytes` of a response, and waits `timeout` seconds for each part of it.

    The bound is a hook and not a transport of its own: with that, httpx would no longer obey HTTPS_PROXY.
    """

    async def bound(response: httpx2.Response) -> None:
        # A compressed megabyte can hold a gigabyte, so none is asked for and none is taken.
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise AnswerTooLarge
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise AnswerTooLarge
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, max_bytes)

    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity"},
        timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
        limits=LIMITS,
        event_hooks={"response": [bound]},
    )


def bytes_for(output_tokens: int) -> int:
    """The bytes that an answer of so many tokens may take."""
    return max(MAX_BYTES, output_tokens * BYTES_PER_TOKEN)


def unreachable(provider: str, error: BaseException) -> ProviderError:
    """The domain's error for an exchange that broke off."""
    logger.warning("provider_error", provider=provider, error=type(error).__name__)
    if isinstance(error, httpx2.TimeoutException):
        return ProviderTimeout()
    if isinstance(error, AnswerTooLarge):
        return ProviderError()
    return ProviderUnavailable()


def unreadable(provider: str, error: BaseException) -> ProviderError:
    """The domain's error for an answer that does not follow the protocol."""
    logger.warning("provider_answer_unreadable", provider=provider, error=type(error).__name__)
    return ProviderError()


def refused(provider: str, response: httpx2.Response | None, status: int) -> ProviderError:
    """The domain's error for a status. The provider's own words stay behind: they may quote the key or the prompt."""
    headers = response.headers if response is not None else httpx2.Headers()
    request_id = _request_id(headers)
    logger.warning("provider_error", provider=provider, provider_status=status, provider_request_id=request_id)
    error: ProviderError
    if status in (408, 504):
        error = ProviderTimeout()
    elif status in (429, 502, 503, 529):
        error = ProviderUnavailable()
    elif 300 <= status < 500:
        error = ProviderRejected()
    else:
        error = ProviderError()
    error.retry_after = _retry_after(headers)
    return error


def status_of(error: object) -> int:
    """What an error with the status 200 would have been by itself: it says so by a number, or by a name for it."""
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    for name in ("code", "status", "status_code"):
        value = fields.get(name)
        if isinstance(value, str) and re.fullmatch(r"[1-5]\d\d", value, re.ASCII):
            value = int(value)
        if isinstance(value, int) and 300 <= value < 600:
            return value
    said = (fields.get("code"), fields.get("type"), fields.get("status"))
    return next((STATUSES[name] for name in said if isinstance(name, str) and name in STATUSES), 500)


def _request_id(headers: httpx2.Headers) -> str | None:
    value = headers.get("x-request-id") or headers.get("request-id") or ""
    return value if re.fullmatch(r"[\w-]{1,64}", value) else None


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, at most a day. The date form is not read: it is only right where both clocks are."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := headers.get(name, "").strip(), re.ASCII):
            return min(float(value) / divisor, 86_400.0)
    return None
