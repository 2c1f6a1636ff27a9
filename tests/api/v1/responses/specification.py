"""What the public specification of the interface, and the client that most use, say of its objects."""

import json
import warnings
from collections.abc import Iterable
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

with warnings.catch_warnings():  # it names a field `schema`
    warnings.simplefilter("ignore")
    from openresponses_types import types

EVENTS: dict[str, type[BaseModel]] = {
    next(iter(kind.model_fields["type"].annotation)).value: kind  # type: ignore[union-attr,arg-type]
    for name, kind in vars(types).items()
    if name.endswith("StreamingEvent")
}
OF_THE_CLIENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def check_response(response: dict[str, Any]) -> None:
    Response.model_validate(response, strict=True)
    if response["text"]["format"]["type"] == "json_schema":  # the specification's types have no room for a schema
        response = {**response, "text": {"format": {"type": "text"}}}
    types.ResponseResource.model_validate(response)


def check_event(event: dict[str, Any]) -> None:
    if "response" in event:
        check_response(event["response"])
    else:
        EVENTS[event["type"]].model_validate(event)
    OF_THE_CLIENT.validate_python(event)


def events_of(frames: Iterable[bytes]) -> list[dict[str, Any]]:
    """What a stream of frames says; each names its event twice."""
    events = []
    for frame in b"".join(frames).decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events
