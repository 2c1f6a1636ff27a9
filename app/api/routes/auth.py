from typing import Annotated

from fastapi import APIRouter, Depends, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.security import OAuth2PasswordRequestForm

from app.api.errors import documented
from app.api.routing import CallerFirst
from app.api.session_cookie import CookieOfSession
from app.dependencies import LIMITED_BY_ADDRESS, Auth, CallerOrigin, LoginSession, Profile, Registration, Sessions
from app.schemas.oauth import OAuthError
from app.schemas.user import (
    AccessToken,
    LogoutRequest,
    PasswordChange,
    RefreshRequest,
    TokenResponse,
    UserLogin,
    UserRead,
    UserRegister,
)

NO_BODY = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}

router = APIRouter(tags=["auth"], route_class=CallerFirst)


@router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    summary="Register a user in an existing tenant",
    responses=documented(400, 403, 404, 409, 413, 422, 429, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def register(body: UserRegister, service: Registration) -> UserRead:
    """The user gets the role `user`. A tenant may be joined by invite alone, or be closed for registration."""
    return UserRead.model_validate(await service.register(body.tenant_id, body.email, body.password, body.invite_token))


@router.post(
    "/login",
    summary="Get JWT access token",
    response_model=TokenResponse,
    responses=documented(400, 401, 403, 413, 422, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def login(
    body: UserLogin, service: Auth, origin: CallerOrigin, cookie: CookieOfSession
) -> TokenResponse | Response:
    """Begins a session. An unknown email and a wrong password give the same answer in the same time."""
    return cookie.answer(await service.login(body.email, body.password, origin))


@router.post(
    "/token",
    summary="Get JWT access token by form",
    responses={**documented(413, 429, 503), 400: {"model": OAuthError, "description": "Bad Request"}},
    dependencies=[LIMITED_BY_ADDRESS],
)
async def token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], service: Auth, origin: CallerOrigin
) -> AccessToken:
    """The OAuth2 password flow, which the Authorize button of these pages uses. `username` is the email."""
    return AccessToken.model_validate(await service.login(form.username, form.password, origin))


@router.post(
    "/refresh",
    summary="Continue a session",
    response_model=TokenResponse,
    responses=documented(400, 401, 403, 413, 422, 503),
    dependencies=[LIMITED_BY_ADDRESS],
    openapi_extra={"requestBody": {"required": True}},
)
async def refresh(
    service: Sessions, origin: CallerOrigin, cookie: CookieOfSession, body: RefreshRequest | None = None
) -> TokenResponse | Response:
    """The next access and refresh token. A refresh token serves once; used again later, it ends the session."""
    if cookie.wanted:
        return cookie.answer(await service.refresh(cookie.refresh_token, origin))
    if body is None:
        raise RequestValidationError([NO_BODY])
    return cookie.answer(await service.refresh(body.refresh_token, origin))


@router.post(
    "/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="End the session",
    responses=documented(400, 401, 403, 413, 422, 503),
)
async def logout(
    caller: LoginSession,
    service: Sessions,
    response: Response,
    cookie: CookieOfSession,
    body: LogoutRequest | None = None,
) -> None:
    """Its access and refresh tokens are refused from the next request on."""
    await service.end(caller, everywhere=body is not None and body.everywhere)
    cookie.drop(response)


@router.get("/me", summary="Get current user profile", responses=documented(401, 503))
async def me(service: Profile) -> UserRead:
    return UserRead.model_validate(await service.me())


@router.put(
    "/me/password",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Change the password",
    responses=documented(400, 401, 403, 413, 422, 503),
)
async def change_password(body: PasswordChange, caller: LoginSession, service: Auth) -> None:
    """Ends every session of the user, this one included: log in again. API keys end too, or go on if told so."""
    await service.change_password(caller, body.current_password, body.new_password, keep_keys=body.keep_api_keys)
