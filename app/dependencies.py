"""Principals, sessions and services as annotated nouns: a route names what it needs."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import OAuth2PasswordBearer
from pydantic import AwareDatetime

from app.container import Container
from app.core.errors import AuthenticationError, PermissionDenied
from app.core.principal import Principal
from app.db.session import Database, TenantSession
from app.models import MessageStatus
from app.schemas.base import STORABLE
from app.services.auth_service import AuthService
from app.services.health_service import HealthService
from app.services.message_service import MessageFilter, MessageService
from app.services.pagination import PageRequest
from app.services.tenant_service import TenantService
from app.services.user_service import RegistrationService, UserService

MAX_SKIP = 2**31 - 1
# Converting a time at the edge of the calendar to UTC overflows.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _container(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


class BearerToken(OAuth2PasswordBearer):
    """The caller, from the token alone; entering the tenant asks the database whether it still holds.

    The scheme is the dependency: each level that FastAPI solves costs a tenth of a small request.
    """

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationError
        principal = _container(request).tokens.verify(token)
        request.scope["state"]["principal"] = principal
        return principal


get_current_user = BearerToken(tokenUrl="token", description="The access token of /login or /token.")
CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_current_admin(principal: CurrentUser) -> Principal:
    if not principal.is_admin:
        raise PermissionDenied
    return principal


CurrentAdmin = Annotated[Principal, Depends(get_current_admin)]


async def get_db(request: Request) -> Database:
    """The database outside any tenant, for the routes that have no caller."""
    return _container(request).database


Db = Annotated[Database, Depends(get_db)]


def tenant_db(request: Request, principal: Principal) -> TenantSession:
    """The caller's tenant; a service opens its transactions with it."""
    return _container(request).database.tenant_session(principal)


async def get_page(
    skip: Annotated[int, Query(ge=0, le=MAX_SKIP, description="Rows to pass over; slow when deep.")] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=200, description="From the `Link` header; `skip` has no effect with it.")
    ] = None,
) -> PageRequest:
    return PageRequest(skip, limit, cursor)


async def get_filter(
    user_id: Annotated[str | None, Query(max_length=36), STORABLE] = None,
    status: MessageStatus | None = None,
    since: Annotated[
        AwareDatetime | None, Query(ge=EARLIEST, le=LATEST, description="RFC 3339; messages from then on.")
    ] = None,
) -> MessageFilter:
    return MessageFilter(user_id, status, since)


async def get_tenants(request: Request, db: Db) -> TenantService:
    return TenantService(db, _container(request).passwords)


async def get_registration(request: Request, db: Db) -> RegistrationService:
    return RegistrationService(db, _container(request).passwords)


async def get_auth(request: Request, db: Db) -> AuthService:
    container = _container(request)
    return AuthService(db, container.passwords, container.tokens)


async def get_health(request: Request, db: Db) -> HealthService:
    return HealthService(db, _container(request).llm)


async def get_users(request: Request, principal: CurrentUser) -> UserService:
    return UserService(tenant_db(request, principal), _container(request).passwords)


async def get_messages(request: Request, principal: CurrentUser) -> MessageService:
    container = _container(request)
    return MessageService(tenant_db(request, principal), container.llm, container.lease)


Filter = Annotated[MessageFilter, Depends(get_filter)]
Paging = Annotated[PageRequest, Depends(get_page)]
Tenants = Annotated[TenantService, Depends(get_tenants)]
Registration = Annotated[RegistrationService, Depends(get_registration)]
Auth = Annotated[AuthService, Depends(get_auth)]
Health = Annotated[HealthService, Depends(get_health)]
Users = Annotated[UserService, Depends(get_users)]
Messages = Annotated[MessageService, Depends(get_messages)]
