"""A message as others' clients know it as a response: its id, how it ended, and what a webhook says of that."""

from typing import Any

from app.core.completion import FinishReason
from app.models import MessageStatus
from app.models.rows import MessageRow

API, RESPONSE = "responses", "resp_"
INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}


def status_of(row: MessageRow) -> str:
    match row.status:
        case MessageStatus.PENDING:
            return "in_progress"
        case MessageStatus.COMPLETED if row.finish_reason in INCOMPLETE:
            return "incomplete"
        case status:
            return str(status)


def event_of(row: MessageRow, event_id: str) -> dict[str, Any]:
    """As OpenAI's clients unwrap it. It has no text: who wants that gets the response by its id."""
    return {
        "id": f"evt_{event_id}",
        "object": "event",
        "type": f"response.{status_of(row)}",
        "created_at": int(row.updated_at.timestamp()),
        "data": {"id": RESPONSE + row.id},
    }
