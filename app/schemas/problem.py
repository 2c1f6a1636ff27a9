"""Errors as RFC 9457 problem details."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.schemas.base import Timestamp


class FieldError(BaseModel):
    """One thing wrong with the input; never the input itself."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    type: Annotated[str, Field(examples=["urn:llm-saas:problem:email-taken"])]
    title: str
    status: int
    detail: str
    request_id: str
    errors: Annotated[list[FieldError] | None, Field(description="With status 422.")] = None
    message_id: Annotated[str | None, Field(description="The message that this is about.")] = None
    resets_at: Annotated[
        Timestamp | None, Field(description="With status 402: when the budget's next period begins.")
    ] = None
