"""Requests as clients send them."""

import asyncio
from dataclasses import replace
from typing import Any

from app.api.v1.fields import Fields
from app.api.v1.images import seen
from app.api.v1.responses.request import ResponseAsked, read_request
from app.api.v1.responses.shown import shown
from app.llm.images import Images

MOST_BYTES = 1000
PNG = "iVBORw0KGgo="


def asked(**body: Any) -> ResponseAsked:
    read = read_request(Fields({"model": "small", "input": "Hello"} | body))
    images = Images(MOST_BYTES).of_request("a tenant")
    return replace(read, items=list(asyncio.run(seen(read.items, images))))


def shown_of(request: ResponseAsked) -> dict[str, Any]:
    return shown(request.options, request.instructions, request.extra)


SHOWN = shown_of(asked())
