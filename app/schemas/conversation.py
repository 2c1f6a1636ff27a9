from typing import Annotated

from pydantic import Field

from app.schemas.base import STORABLE, ReadModel, RequestBody, Timestamp

Title = Annotated[str | None, Field(max_length=255, examples=["Async Python"]), STORABLE]
SystemPrompt = Annotated[
    str | None,
    Field(max_length=100_000, examples=["Answer in one sentence."], description="Opens each call."),
    STORABLE,
]


class ConversationCreate(RequestBody):
    title: Title = None
    system_prompt: SystemPrompt = None


class ConversationUpdate(RequestBody):
    """What is left out stays as it is; null clears it."""

    title: Title = None
    system_prompt: SystemPrompt = None


class ConversationRead(ReadModel):
    id: str
    title: str | None
    system_prompt: str | None
    user_id: str
    tenant_id: str
    created_at: Timestamp
    updated_at: Timestamp
