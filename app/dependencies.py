"""Principals, sessions and services as annotated nouns: a route names what it needs."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.security import OAuth2PasswordBearer
from pydantic import AfterValidator, AwareDatetime
from pydantic_core import PydanticCustomError

from app.container import Container
from app.core.errors import AuthenticationError, PermissionDenied
from app.core.principal import Principal
from app.db.session import Database, TenantSession
from app.models import MessageStatus
from app.schemas.base import STORABLE
from app.services.auth_service import AuthService
from app.services.budget_service import BudgetService
from app.services.conversation_service import ConversationService
from app.services.health_service import HealthService
from app.services.message_list import MessageFilter
from app.services.message_service import MessageService
from app.services.pagination import PageRequest
from app.services.tenant_service import TenantService
from app.services.usage_service import UsageService
from app.services.user_service import RegistrationService, UserService
from app.services.webhook_service import WebhookService

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
        container, state = _container(request), request.scope["state"]
        principal = container.tokens.verify(token)
        state["principal"] = principal
        state["rate_limit"] = await container.limits.count_principal(principal)
        return principal


get_current_user = BearerToken(tokenUrl="token", description="The access token of /login or /token.")
CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_current_admin(principal: CurrentUser) -> Principal:
    if not principal.is_admin:
        raise PermissionDenied
    return principal


CurrentAdmin = Annotated[Principal, Depends(get_current_admin)]


async def limit_address(request: Request) -> None:
    """For the routes that have no caller: the client's address is counted instead."""
    state = request.scope["state"]
    state["rate_limit"] = await _container(request).limits.count_address(state["client_address"])


LIMITED_BY_ADDRESS = Depends(limit_address)


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
    conversation_id: Annotated[str | None, Query(max_length=36), STORABLE] = None,
    status: MessageStatus | None = None,
    since: Annotated[
        AwareDatetime | None, Query(ge=EARLIEST, le=LATEST, description="RFC 3339; messages from then on.")
    ] = None,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=500, description='Words in prompt or answer; "a phrase", `or`, `-not`.'),
        STORABLE,
    ] = None,
) -> MessageFilter:
    return MessageFilter(user_id, conversation_id, status, since, q)


def _utc(value: datetime) -> datetime:
    """A day or a time without a zone is UTC."""
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not EARLIEST <= value <= LATEST:
        raise PydanticCustomError("out_of_range", "The time must lie between 1970 and 9999")
    return value


Moment = Annotated[datetime | None, AfterValidator(lambda value: value and _utc(value))]


async def get_usage_from(
    since: Annotated[
        Moment, Query(alias="from", description="A day or time (RFC 3339); empty: the month's beginning.")
    ] = None,
) -> datetime:
    return since or datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def get_usage_to(
    until: Annotated[Moment, Query(alias="to", description="Before this day or time; empty: now.")] = None,
) -> datetime:
    return until or datetime.now(UTC)


async def get_tenants(request: Request, db: Db) -> TenantService:
    return TenantService(db, _container(request).passwords)


async def get_registration(request: Request, db: Db) -> RegistrationService:
    return RegistrationService(db, _container(request).passwords)


async def get_auth(request: Request, db: Db) -> AuthService:
    container = _container(request)
    return AuthService(db, container.passwords, container.tokens, container.limits)


async def get_health(request: Request, db: Db) -> HealthService:
    container = _container(request)
    return HealthService(db, container.llm, container.limits)


async def get_users(request: Request, principal: CurrentUser) -> UserService:
    return UserService(tenant_db(request, principal), _container(request).passwords)


async def get_messages(request: Request, principal: CurrentUser) -> MessageService:
    container = _container(request)
    return MessageService(
        tenant_db(request, principal), container.engine, container.signals, container.webhooks, container.context_tokens
    )


async def get_conversations(request: Request, principal: CurrentUser) -> ConversationService:
    return ConversationService(tenant_db(request, principal))


async def get_usage(request: Request, principal: CurrentUser) -> UsageService:
    return UsageService(tenant_db(request, principal))


async def get_webhooks(request: Request) -> WebhookService:
    return _container(request).webhooks


async def get_budgets(request: Request, principal: CurrentUser) -> BudgetService:
    return BudgetService(tenant_db(request, principal))


Filter = Annotated[MessageFilter, Depends(get_filter)]
Paging = Annotated[PageRequest, Depends(get_page)]
Tenants = Annotated[TenantService, Depends(get_tenants)]
Registration = Annotated[RegistrationService, Depends(get_registration)]
Auth = Annotated[AuthService, Depends(get_auth)]
Health = Annotated[HealthService, Depends(get_health)]
Users = Annotated[UserService, Depends(get_users)]
Webhooks = Annotated[WebhookService, Depends(get_webhooks)]
Messages = Annotated[MessageService, Depends(get_messages)]
Conversations = Annotated[ConversationService, Depends(get_conversations)]
Usage = Annotated[UsageService, Depends(get_usage)]
UsageFrom = Annotated[datetime, Depends(get_usage_from)]
UsageTo = Annotated[datetime, Depends(get_usage_to)]
Budgets = Annotated[BudgetService, Depends(get_budgets)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="The same key and body make one thing, however often they are sent; kept for 24 hours.",
    ),
]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
