from typing import Annotated

from fastapi import APIRouter, Depends, status
from fastapi.security import OAuth2PasswordRequestForm

from app.api.errors import documented
from app.dependencies import LIMITED_BY_ADDRESS, Auth, Registration, Users
from app.schemas.user import AccessToken, TokenResponse, UserLogin, UserRead, UserRegister
from app.services.auth_service import Login

router = APIRouter(tags=["auth"])


@router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    summary="Register a user in an existing tenant",
    responses=documented(400, 404, 409, 413, 422, 429, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def register(body: UserRegister, service: Registration) -> UserRead:
    """The user gets the role `user`; admins are made by admins, or with the tenant."""
    return UserRead.model_validate(await service.register(body.tenant_id, body.email, body.password))


@router.post(
    "/login",
    summary="Get JWT access token",
    responses=documented(400, 401, 413, 422, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def login(body: UserLogin, service: Auth) -> TokenResponse:
    """An unknown email and a wrong password give the same answer in the same time."""
    granted = await service.login(body.email, body.password)
    return TokenResponse(
        access_token=granted.access_token,
        expires_in=granted.expires_in,
        user=UserRead.model_validate(granted.user),
    )


@router.post(
    "/token",
    summary="Get JWT access token by form",
    responses=documented(400, 401, 413, 422, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()], service: Auth) -> AccessToken:
    """The OAuth2 password flow, which the Authorize button of these pages uses. `username` is the email."""
    granted: Login = await service.login(form.username, form.password)
    return AccessToken(access_token=granted.access_token, expires_in=granted.expires_in)


@router.get("/me", summary="Get current user profile", responses=documented(401, 503))
async def me(service: Users) -> UserRead:
    return UserRead.model_validate(await service.me())
