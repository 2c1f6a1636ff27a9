from typing import Annotated

from pydantic import AwareDatetime, Field

from app.core.principal import Scope
from app.schemas.base import EARLIEST, LATEST, STORABLE, ReadModel, RequestBody, Timestamp
from app.schemas.model import AllowedModels

DAY_SECONDS = 24 * 60 * 60
MAX_OVERLAP_SECONDS = 30 * DAY_SECONDS


class ApiKeyCreate(RequestBody):
    """`expires_at` left out: it does not expire. `allowed_models`: it asks for those alone; left out: what its tenant
    allows.
    """

    name: Annotated[str, Field(min_length=1, max_length=255, examples=["nightly import"]), STORABLE]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10, examples=[["messages:read", "messages:write"]])]
    expires_at: Annotated[AwareDatetime | None, Field(ge=EARLIEST, le=LATEST)] = None
    allowed_models: Annotated[AllowedModels | None, Field(examples=[["mock-echo"]])] = None


class ApiKeyRotate(RequestBody):
    """How long the old key goes on beside the new one: 0, as after a leak, to 30 days."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_SECONDS, strict=True)] = DAY_SECONDS


class ApiKeyRead(ReadModel):
    """`prefix` is the beginning of the key; `last_used_at` is right to the minute."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    allowed_models: list[str] | None
    user_id: str
    expires_at: Timestamp | None
    last_used_at: Timestamp | None
    created_at: Timestamp


class ApiKeyCreated(ApiKeyRead):
    """`key` is shown this once; a hash of it is kept."""

    key: str
