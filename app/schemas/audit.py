from typing import Annotated, Any, Literal

from pydantic import Field

from app.schemas.base import ReadModel, Timestamp


class AuditEntryRead(ReadModel):
    """`actor_id` is the user, `api_key_id` its key where one was used; `address` and `request_id` say from where.

    Without an actor, `details.times` says how often something happened to, or by, the target within a minute.
    """

    id: str
    action: str
    actor_type: Literal["user", "api_key", "operator", "anonymous"]
    actor_id: str | None
    api_key_id: str | None
    target_id: str | None
    address: str | None
    request_id: Annotated[str | None, Field(description="The caller's `X-Request-ID`, or the service's own.")]
    own_request_id: Annotated[str | None, Field(description="The service's own, which no caller can choose.")]
    details: dict[str, Any]
    created_at: Timestamp
