from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.core.credentials.emails import InvalidEmailError, normalise_email
from app.core.credentials.passwords import (
    MAX_PASSWORD_BYTES,
    MIN_PASSWORD_CHARACTERS,
    is_common,
    normalise_password,
    too_long,
)
from app.models import UserRole
from app.schemas.base import STORABLE, Id, ReadModel, RequestBody, Timestamp

MAX_EMAIL_CHARACTERS = 320


def _normalised(email: str) -> str:
    # Not pydantic's EmailStr: it accepts "Name <address>" and quotes the input in its messages.
    try:
        normal = normalise_email(email)
    except InvalidEmailError as error:
        if str(error) == "reserved domain":
            raise PydanticCustomError(
                "email", "The domain of the email address is reserved: nobody has mail there"
            ) from None
        raise PydanticCustomError("email", "The value is not an email address") from None
    if len(normal) > MAX_EMAIL_CHARACTERS:  # folding can lengthen
        raise PydanticCustomError("email", "The email address is too long")
    return normal


def _bounded(password: str) -> str:
    if too_long(password):
        raise PydanticCustomError(
            "password_too_long", f"The password must have at most {MAX_PASSWORD_BYTES} bytes in UTF-8"
        )
    return password


def _hard_to_guess(password: str) -> str:
    if len(normalise_password(password)) < MIN_PASSWORD_CHARACTERS:
        message = f"The password must have at least {MIN_PASSWORD_CHARACTERS} characters"
        raise PydanticCustomError("password_too_short", message)
    if is_common(password):
        raise PydanticCustomError("password_too_common", "This password is among the most common ones: choose another")
    return password


Email = Annotated[
    str,
    Field(max_length=MAX_EMAIL_CHARACTERS, examples=["alice@acme.com"], json_schema_extra={"format": "email"}),
    STORABLE,
    AfterValidator(_normalised),
]
# Schema and pydantic count characters; bytes and the normal form are counted after that.
Password = Annotated[
    str,
    Field(min_length=MIN_PASSWORD_CHARACTERS, max_length=MAX_PASSWORD_BYTES, examples=["s3cur3P@ssw0rd"]),
    STORABLE,
    AfterValidator(_bounded),
    AfterValidator(_hard_to_guess),
]

# Looser: what cannot be a password is a wrong one, not bad input.
PresentPassword = Annotated[
    str, Field(max_length=MAX_PASSWORD_BYTES, examples=["s3cur3P@ssw0rd"]), STORABLE, AfterValidator(_bounded)
]


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
    """`keep_api_keys`: else they end with the old password, as whoever knew it may have made some."""

    current_password: PresentPassword
    new_password: Password
    keep_api_keys: bool = False


class UserLogin(RequestBody):
    """Looser than registration: what cannot be an account is a wrong login, not bad input."""

    email: Annotated[str, Field(max_length=1024, examples=["alice@acme.com"]), STORABLE]
    password: PresentPassword


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
