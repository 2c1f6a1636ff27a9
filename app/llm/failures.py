"""What goes wrong with a provider, as errors of the domain. Its own words stay behind: they may quote key or prompt."""

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import structlog

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable

UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading the answer of a server raises that speaks its protocol in name only."""
PASSING = (408, 409, 429)
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
    """More bytes than an answer may take."""


def unreachable(provider: str, error: BaseException, *, began: bool) -> ProviderError:
    """An exchange that broke off; `began`: after the provider had begun to answer."""
    logger.warning("provider_error", provider=provider, error=type(error).__name__)
    broken: ProviderError = ProviderTimeout() if isinstance(error, TimeoutError) else ProviderUnavailable()
    broken.transient = not began
    # It was sent, and nobody knows how far the provider came.
    broken.accepted = isinstance(error, aiohttp.SocketTimeoutError)
    return broken


def unreadable(provider: str, error: BaseException) -> ProviderError:
    """An answer that does not follow the protocol."""
    logger.warning("provider_answer_unreadable", provider=provider, error=type(error).__name__)
    return ProviderError()


def refused(provider: str, headers: Mapping[str, str], status: int, *, began: bool = False) -> ProviderError:
    """A status that is none of success; `began`: it was said in the middle of an answer."""
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
    asked_again = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    passing = status in PASSING or status >= 500 if asked_again is None else asked_again
    error.transient = passing and not began
    # A rate limit is the key's: one prompt that is long enough may reach it.
    error.unhealthy = status >= 500 and not began
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


def _request_id(headers: Mapping[str, str]) -> str | None:
    value = headers.get("x-request-id") or headers.get("request-id") or ""
    return value if re.fullmatch(r"[\w-]{1,64}", value) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, at most a day. The date form is not read: it is only right where both clocks are."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value := headers.get(name, "").strip(), re.ASCII):
            return min(float(value) / divisor, 86_400.0)
    return None
