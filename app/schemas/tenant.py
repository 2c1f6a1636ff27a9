from typing import Annotated, Any

from pydantic import Field, StringConstraints

from app.models import MessageVisibility, RegistrationMode
from app.schemas.base import STORABLE, ReadModel, RequestBody, Timestamp
from app.schemas.model import AllowedModels, ModelName
from app.schemas.user import Credentials, UserRead

MAX_CACHE_SECONDS = 24 * 60 * 60
MAX_RETENTION_DAYS = 36500
NULL_MEANS_NO_MORE = (
    "cache_ttl_seconds",
    "message_retention_days",
    "allowed_models",
    "default_model",
    "event_webhook_url",
)
TenantName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), STORABLE]


class TenantCreate(RequestBody):
    name: Annotated[TenantName, Field(examples=["Acme Corp"])]
    admin: Annotated[Credentials | None, Field(description="Creates the tenant's first admin with it.")] = None
    region: Annotated[
        str | None,
        Field(max_length=31, examples=["eu"], description="Where it lives, whole; without it in the first region."),
        STORABLE,
    ] = None


class TenantRead(ReadModel):
    id: str
    name: str
    created_at: Timestamp


class TenantSettings(TenantRead):
    """`registration`: who may register; `message_visibility`: whose messages and conversations users see.

    `cache_ttl_seconds`: for how long answers are kept for equal prompts; null: not at all. `message_retention_days`:
    messages are deleted once they are older; null: never; 0: no text of them is kept at all. `allowed_models`: public
    names that its users may ask for; null: all. `default_model`: what answers where none is named; null: the service's
    default. `event_webhook_url`: where it is told that budgets are spent, and how background
    responses end; null: nowhere.
    """

    registration: RegistrationMode
    message_visibility: MessageVisibility
    cache_ttl_seconds: int | None
    message_retention_days: int | None
    allowed_models: list[str] | None
    default_model: str | None
    event_webhook_url: str | None
    updated_at: Timestamp


class TenantUpdate(RequestBody):
    """What is left out stays as it is."""

    name: TenantName | None = None
    registration: RegistrationMode | None = None
    message_visibility: MessageVisibility | None = None
    cache_ttl_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_CACHE_SECONDS,
            strict=True,
            examples=[3600],
            description="Keep answers for equal prompts for so long; null: no more. Naming it forgets what was kept.",
        ),
    ] = None

    message_retention_days: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_RETENTION_DAYS,
            strict=True,
            examples=[365],
            description="Delete messages, for good, once they are so many days old; null: no more. 0: no text is kept"
            " from now on, and what there is of messages and conversations is deleted.",
        ),
    ] = None

    allowed_models: Annotated[
        AllowedModels | None,
        Field(
            examples=[["mock-echo"]],
            description="Public names of GET /models that may be asked for, and may stand in for others; null: all.",
        ),
    ] = None
    default_model: Annotated[
        ModelName | None,
        Field(examples=["mock-echo"], description="What answers where none is named; null: the service's default."),
    ] = None
    event_webhook_url: Annotated[
        str | None,
        Field(
            max_length=2048,
            examples=["https://acme.example/events"],
            description="Called when a budget is spent to 50, 80 and 100 %; only public addresses; null: no more.",
        ),
        STORABLE,
    ] = None

    def changes(self) -> dict[str, Any]:
        """What it names. Where null does not mean "no more", it is as good as left out."""
        named = self.model_dump(mode="json", exclude_unset=True)
        return {name: value for name, value in named.items() if value is not None or name in NULL_MEANS_NO_MORE}


class TenantCreated(TenantRead):
    """The tenant and, where one was asked for, its first admin."""

    admin: UserRead | None = None
