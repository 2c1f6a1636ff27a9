from typing import Annotated

from pydantic import Field

from app.models import MessageStatus
from app.schemas.base import STORABLE, ReadModel, RequestBody, Timestamp

MAX_CONTENT_CHARACTERS = 100_000


class MessageCreate(RequestBody):
    content: Annotated[
        str, Field(min_length=1, max_length=MAX_CONTENT_CHARACTERS, examples=["What is async Python?"]), STORABLE
    ]


class MessageRead(ReadModel):
    id: str
    content: str
    response: Annotated[str, Field(description="Empty unless `status` is `completed`.")]
    user_id: str
    tenant_id: str
    status: MessageStatus
    error_code: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    created_at: Timestamp
    updated_at: Timestamp
