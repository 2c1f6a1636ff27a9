from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.core.security import normalise_email
from app.models import UserRole
from app.schemas.base import STORABLE, Id, ReadModel, RequestBody, Timestamp

MAX_EMAIL_CHARACTERS = 320


def _normalised(email: str) -> str:
    # Not pydantic's EmailStr: it accepts "Name <address>" and quotes the input in its messages.
    try:
        normal = normalise_email(validate_email(email.strip(), check_deliverability=False).normalized)
    except EmailNotValidError:
        raise PydanticCustomError("email", "The value is not an email address") from None
    if len(normal) > MAX_EMAIL_CHARACTERS:  # folding can lengthen
        raise PydanticCustomError("email", "The email address is too long")
    return normal


Email = Annotated[
    str,
    Field(max_length=MAX_EMAIL_CHARACTERS, examples=["alice@acme.com"], json_schema_extra={"format": "email"}),
    STORABLE,
    AfterValidator(_normalised),
]
Password = Annotated[str, Field(min_length=8, max_length=4096, examples=["s3cur3P@ssw0rd"]), STORABLE]


class Credentials(RequestBody):
    email: Email
    password: Password


class UserRegister(Credentials):
    """`invite_token`: where the tenant is joined by invite."""

    tenant_id: Annotated[Id, Field(examples=["0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"])]
    invite_token: Annotated[str | None, Field(max_length=100), STORABLE] = None


class UserCreate(Credentials):
    role: UserRole = UserRole.USER


class UserUpdate(RequestBody):
    """What is left out stays as it is."""

    role: UserRole | None = None
    disabled: bool | None = None


class PasswordChange(RequestBody):
    current_password: Annotated[str, Field(max_length=4096), STORABLE]
    new_password: Password


class UserLogin(RequestBody):
    """Looser than registration: what cannot be an account is a wrong login, not bad input."""

    email: Annotated[str, Field(max_length=1024, examples=["alice@acme.com"]), STORABLE]
    password: Annotated[str, Field(max_length=4096, examples=["s3cur3P@ssw0rd"]), STORABLE]


class UserRead(ReadModel):
    id: str
    email: str
    role: UserRole
    tenant_id: str
    disabled_at: Timestamp | None = None
    created_at: Timestamp


class AccessToken(ReadModel):
    """RFC 6749's answer; lives are in seconds. The refresh token serves once: each answer brings the next."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - not a password
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class TokenResponse(AccessToken):
    user: UserRead


class RefreshRequest(RequestBody):
    refresh_token: Annotated[str, Field(max_length=200)]


class LogoutRequest(RequestBody):
    """`everywhere`: all sessions of the user, not this one alone."""

    everywhere: bool = False
