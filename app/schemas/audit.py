from typing import Any, Literal

from app.schemas.base import ReadModel, Timestamp


class AuditEntryRead(ReadModel):
    """`actor_id` is the user, `api_key_id` its key where one was used; `address` and `request_id` say from where."""

    id: str
    action: str
    actor_type: Literal["user", "api_key", "operator", "anonymous"]
    actor_id: str | None
    api_key_id: str | None
    target_id: str | None
    address: str | None
    request_id: str | None
    details: dict[str, Any]
    created_at: Timestamp
