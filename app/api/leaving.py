"""Waiting for an answer: what is held for it meanwhile, and who leaves ends what nobody would come back for."""

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


def hold_body(request: Request, sent: Sent) -> None:
    """What was read of the body is the call's, for as long as it runs, and what was fetched for it."""
    if sent.generation is not None:
        request.scope["state"]["body"].keep_until(sent.generation.ended)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
