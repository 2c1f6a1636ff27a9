from typing import Annotated

from pydantic import Field

from app.schemas.base import ReadModel, RequestBody, Timestamp
from app.schemas.user import Email


class InviteCreate(RequestBody):
    """`expires_in_hours`: up to 30 days."""

    email: Email
    expires_in_hours: Annotated[int, Field(ge=1, le=720)] = 72


class InviteRead(ReadModel):
    id: str
    email: str
    tenant_id: str
    user_id: str
    expires_at: Timestamp
    created_at: Timestamp


class InviteCreated(InviteRead):
    """`token` is shown this once; whoever has this email registers with it."""

    token: str
