"""What every dialect does with a message that was sent: wait for its end, or follow it."""

from fastapi import Request

from app.api import leaving
from app.api.leaving import hold_body
from app.api.v1.stream import DialectStream, Encoder, is_billed
from app.core.errors import ProviderError
from app.messages.generation import Reader
from app.services.message_service import MessageService
from app.services.prompts import Outcome, Sent


async def outcome_of(request: Request, service: MessageService, sent: Sent) -> Outcome:
    """How it ended. What is not stored ends when its client leaves: nobody could read it any more.

    Raises:
        ProviderError: and if something was billed, the answer says that it is not to be sent again.
    """
    hold_body(request, sent)
    try:
        return await leaving.outcome_of(service, sent, request)
    except ProviderError:
        ended = sent.row if sent.generation is None else sent.generation.ended.result()
        request.scope["state"]["billed"] = is_billed(ended)
        raise


def stream_of(request: Request, service: MessageService, sent: Sent, encoder: Encoder) -> DialectStream:
    hold_body(request, sent)
    reader = Reader()
    heartbeat_seconds: float = request.app.state.settings.stream_heartbeat_seconds
    return DialectStream(service.events(sent, reader), reader, encoder, heartbeat_seconds)
