"""Waiting for an answer that nobody would come back for: who leaves ends it."""

import asyncio
from contextlib import suppress

from fastapi import Request

from app.services.prompts import Outcome, Sent
from app.services.stored_messages import StoredMessages


async def outcome_of(service: StoredMessages, sent: Sent, request: Request) -> Outcome:
    """As `Sent.outcome`. Where the message is not stored the client is listened for: if it hangs up, the call ends."""
    if sent.row.stored:
        return await sent.outcome()
    leaving = asyncio.create_task(_left(request))
    leaving.add_done_callback(lambda left: None if left.cancelled() else service.leave(sent))
    try:
        return await sent.outcome()
    finally:
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
