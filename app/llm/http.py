"""What the adapters share that speak HTTP: a client that no answer can fill the memory through, and its failures."""

import re
from collections.abc import AsyncGenerator, AsyncIterator

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


def text_of(value: object) -> str:
    """The text of an answer, or of a piece of it."""
    if not isinstance(value, str):
        raise TypeError("no text in the answer")
    return value


def counted(value: object) -> int | None:
    """A number of tokens as a provider says it, or None for what is none."""
    return value if isinstance(value, int) and 0 <= value < 2**31 else None


def named(value: object, default: str) -> str:
    """A model's name as a provider says it, or ours for what is none."""
    return value if isinstance(value, str) and 0 < len(value) <= 255 else default


def _request_id(headers: httpx2.Headers) -> str | None:
    value = headers.get("x-request-id") or headers.get("request-id") or ""
    return value if re.fullmatch(r"[\w-]{1,64}", value) else None


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, at most a day. The date form is not read: it is only right where both clocks are."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := headers.get(name, "").strip(), re.ASCII):
            return min(float(value) / divisor, 86_400.0)
    return None
