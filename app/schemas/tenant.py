from typing import Annotated

from pydantic import Field, StringConstraints

from app.models import MessageVisibility, RegistrationMode
from app.schemas.base import STORABLE, ReadModel, RequestBody, Timestamp
from app.schemas.user import Credentials, UserRead

TenantName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), STORABLE]


class TenantCreate(RequestBody):
    name: Annotated[TenantName, Field(examples=["Acme Corp"])]
    admin: Annotated[Credentials | None, Field(description="Creates the tenant's first admin with it.")] = None


class TenantRead(ReadModel):
    id: str
    name: str
    created_at: Timestamp


class TenantSettings(TenantRead):
    """`registration`: who may register; `message_visibility`: whose messages and conversations users see."""

    registration: RegistrationMode
    message_visibility: MessageVisibility
    updated_at: Timestamp


class TenantUpdate(RequestBody):
    """What is left out stays as it is."""

    name: TenantName | None = None
    registration: RegistrationMode | None = None
    message_visibility: MessageVisibility | None = None


class TenantCreated(TenantRead):
    """The tenant and, where one was asked for, its first admin."""

    admin: UserRead | None = None
