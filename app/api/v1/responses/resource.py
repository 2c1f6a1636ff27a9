"""A message as a response of the interface, with every field that it requires."""

from collections.abc import Sequence
from typing import Any

from app.api.v1.responses.ids import CONVERSATION, response_id
from app.api.v1.responses.writing import output_of
from app.core.completion import FinishReason
from app.core.errors import AppError, provider_failure
from app.core.items import Item
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.services.response_events import INCOMPLETE, status_of


def begun(row: MessageRow, shown: dict[str, Any]) -> dict[str, Any]:
    """As it was when it began, whatever has become of it: so that each reader of a stream sees the same."""
    return {
        "id": response_id(row.id),
        "object": "response",
        "created_at": int(row.created_at.timestamp()),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        **shown,
        "model": shown.get("model") or row.asked_model or "",
        "previous_response_id": row.previous_id and response_id(row.previous_id),
        "conversation": row.conversation_id and {"id": CONVERSATION + row.conversation_id},
        "metadata": row.metadata or {},
        "output": [],
        "usage": None,
    }


def resource(
    row: MessageRow, shown: dict[str, Any], output: Sequence[Item], error: AppError | None = None, *, with_seal: bool
) -> dict[str, Any]:
    """As it is now. `error`: why it failed, if anybody knows better than the row."""
    response = begun(row, shown)
    if row.status == MessageStatus.PENDING:
        return response
    status = status_of(row)
    reason = row.finish_reason and INCOMPLETE.get(FinishReason(row.finish_reason))
    return response | {
        "status": status,
        "model": response["model"] or row.model or "",
        "completed_at": int(row.updated_at.timestamp()) if status == "completed" else None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "error": _error(error or provider_failure(row.error_code, row.id)) if status == "failed" else None,
        "output": output_of(output, row.id, with_seal=with_seal, cut=status != "completed"),
        "usage": usage_of(row),
    }


def usage_of(row: MessageRow) -> dict[str, Any] | None:
    """None where nobody counted."""
    if row.input_tokens is None and row.output_tokens is None:
        return None
    read, wrote = row.input_tokens or 0, row.output_tokens or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": row.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": wrote,
        "output_tokens_details": {"reasoning_tokens": row.reasoning_tokens or 0},
        "total_tokens": read + wrote,
    }


def _error(error: AppError) -> dict[str, Any]:
    """Clients know a few codes, and this one for whatever lies with the server."""
    return {"code": "server_error", "message": error.detail}
