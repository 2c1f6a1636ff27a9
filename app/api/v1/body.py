"""The body of a request below `/v1`: up to 32 MiB of JSON, of which little may be structure.

A value of JSON takes two bytes to send and sixty to hold, and the parser holds the interpreter while it reads: of what
a request is made of there may be so much that neither matters. Texts and pictures, which are long, take little of both.
"""

import asyncio
import hashlib
import math
from functools import partial
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from app.api.v1.fields import Fields
from app.core.errors import InvalidRequest, UnsupportedMediaType
from app.messages.idempotency import IdempotentRequest

MAX_VALUES = 200_000
JSON_TYPES = ("application/json", "")
# Values of JSON are as many as these, and strings at most two for each.
MARKS = (b",", b"[", b"{")
PIECE_BYTES = 1024 * 1024


async def read_object(request: Request) -> Fields:
    """The object that the body is; its texts hold no NUL, which PostgreSQL cannot store."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES:
        raise UnsupportedMediaType
    # Not `request.body()`, which would keep it for as long as the request is answered.
    body = b"".join([piece async for piece in request.stream()])
    looked = partial(_look_at, body, request.headers.get("Idempotency-Key"))
    request.scope["state"]["body_digest"] = await asyncio.to_thread(looked) if len(body) > PIECE_BYTES else looked()
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest("The body is not JSON in UTF-8, or too deep.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_type")
    if not _is_finite(value):
        raise InvalidRequest("The body has a number that is too large.", code="invalid_json")
    return Fields(_without_nul(value) if rb"\u0000" in body else value)


def idempotent(request: Request, key: str | None, operation: str) -> IdempotentRequest | None:
    """Of a request that was read: its body as it was sent, in which no secret stands, tells it from another."""
    return IdempotentRequest.of(key, operation, {"sha256": request.scope["state"].get("body_digest")})


def _look_at(body: bytes, key: str | None) -> str:
    """Its digest if it is sent under a key. However long it takes: each step is short, and lets others run."""
    if _is_complex(body):
        raise InvalidRequest(f"The body has more than {MAX_VALUES} values.", code="request_too_complex")
    return hashlib.sha256(body).hexdigest() if key else ""


def _is_complex(body: bytes) -> bool:
    marks = sum(body.count(mark, at, at + PIECE_BYTES) for at in range(0, len(body), PIECE_BYTES) for mark in MARKS)
    return marks > MAX_VALUES and _is_complex_outside_strings(body)


def _is_complex_outside_strings(body: bytes) -> bool:
    values, strings, inside, held = 0, 0, False, b""
    for at in range(0, len(body), PIECE_BYTES):
        piece = held + body[at : at + PIECE_BYTES]
        # A backslash at its end belongs to what follows.
        cut = len(piece) - (len(piece) - len(piece.rstrip(b"\\"))) % 2
        piece, held = piece[:cut].replace(rb"\\", b"").replace(rb"\"", b""), piece[cut:]
        parts = piece.split(b'"')
        outside = b"".join(parts[inside::2])
        values += sum(outside.count(mark) for mark in MARKS)
        strings += len(parts)
        inside ^= len(parts) % 2 == 0
        if values > MAX_VALUES or strings > 4 * MAX_VALUES:
            return True
    return False


def _is_finite(value: dict[str, Any]) -> bool:
    """The parser takes 1e999 for infinite, which JSON cannot say."""
    pending: list[Any] = [value]
    while pending:
        outer = pending.pop()
        for item in outer.values() if isinstance(outer, dict) else outer:
            if isinstance(item, dict | list):
                pending.append(item)
            elif isinstance(item, float) and math.isinf(item):
                return False
    return True


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value
