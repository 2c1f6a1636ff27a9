"""The headers that others' clients read, on every answer below `/v1`: beside ours, as raw pairs."""

import time
from typing import Any

from app.core.rate_limits.policy import Standing


def v1_headers(state: dict[str, Any], started: float) -> list[tuple[bytes, bytes]]:
    """`started`: of the request, by `perf_counter`."""
    headers = [
        (b"openai-processing-ms", b"%d" % ((time.perf_counter() - started) * 1000)),
        (b"request-id", state["request_id"].encode()),
    ]
    for of, standing in ((b"requests", state.get("rate_limit")), (b"tokens", state.get("token_limit"))):
        if standing is not None:
            headers.extend(_limit(of, standing))
    return headers


def with_bearer(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A request's, with the credential where it is looked for: Anthropic's clients may have it in one of their own."""
    keys = [value for name, value in headers if name == b"x-api-key"]
    if not keys or any(name == b"authorization" for name, _ in headers):
        return headers
    return [*headers, (b"authorization", b"Bearer " + keys[-1])]


def _limit(of: bytes, standing: Standing) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit-" + of, b"%d" % standing.policy.quota),
        (b"x-ratelimit-remaining-" + of, b"%d" % max(0, standing.remaining)),
        (b"x-ratelimit-reset-" + of, b"%ds" % standing.retry_after),
    ]
