"""Reading a stream of events as a client does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    name: str
    data: dict[str, Any]
    id: str | None = None


async def events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """The events; comments come as `Event("comment", {})`."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield Event("comment", {})
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, message_id: str, headers: dict[str, str], last_event_id: str | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    if last_event_id is not None:
        headers = {**headers, "Last-Event-ID": last_event_id}
    async with client.stream("GET", f"/messages/{message_id}/stream", headers=headers) as response:
        assert response.status_code == 200
        yield events_of(response)


@asynccontextmanager
async def sending(
    client: httpx.AsyncClient, headers: dict[str, str], **body: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    body = {"content": "Hello", "stream": True, **body}
    async with client.stream("POST", "/messages", json=body, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response)


async def rest(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events if event.name != "comment"]


def text_of(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "delta")
