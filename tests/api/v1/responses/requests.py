"""Requests as clients send them."""

from typing import Any

from app.api.v1.fields import Fields
from app.api.v1.responses.request import ResponseAsked, read_request
from app.api.v1.responses.shown import shown


def asked(**body: Any) -> ResponseAsked:
    return read_request(Fields({"model": "small", "input": "Hello"} | body))


def shown_of(request: ResponseAsked) -> dict[str, Any]:
    return shown(request.options, request.instructions, request.extra)


SHOWN = shown_of(asked())
