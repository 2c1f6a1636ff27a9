"""Principals, sessions and services as annotated nouns: a route names what it needs."""

from functools import partial
from operator import setitem
from typing import Annotated

from fastapi import Depends, Request

from app.callers import BearerToken, container_of, origin_of, shared_of
from app.core.errors import DocumentsOff, InsufficientScope, PermissionDenied, SessionRequired
from app.core.principal import Origin, Principal, Scope
from app.core.rate_limits.tokens import CallersTokens
from app.db.session import TenantSession
from app.llm.images import RequestImages
from app.services.api_key_service import ApiKeyService
from app.services.audit_service import AuditService
from app.services.auth_service import AuthService
from app.services.budget_service import BudgetAdminService, BudgetService
from app.services.conversation_service import ConversationService
from app.services.document_search_service import DocumentSearchService
from app.services.document_service import DocumentService
from app.services.erase_service import ErasureService
from app.services.export_service import ExportService
from app.services.health_service import HealthService
from app.services.invite_service import InviteService
from app.services.item_service import ItemService
from app.services.message_service import MessageService
from app.services.model_service import ModelService
from app.services.quoting import Quoting
from app.services.registration_service import RegistrationService
from app.services.said_service import SaidService
from app.services.session_service import SessionService
from app.services.tenant_service import TenantAdminService, TenantService, TenantSettingsService
from app.services.usage_service import UsageService
from app.services.user_admin_service import UserAdminService
from app.services.user_service import ProfileService, UserService
from app.services.webhook_secrets import WebhookSecretService

get_current_user = BearerToken(tokenUrl="token", description="The access token of /login or /token, or an API key.")
CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_current_admin(principal: CurrentUser) -> Principal:
    if not principal.is_admin:
        raise PermissionDenied if principal.key_id is None else InsufficientScope
    return principal


CurrentAdmin = Annotated[Principal, Depends(get_current_admin)]


async def get_admin_session(principal: CurrentUser) -> Principal:
    """An admin who has logged in. With a key an admin looks; what it changes, it changes in person."""
    if principal.session_id is None:
        raise SessionRequired
    if not principal.is_admin:
        raise PermissionDenied
    return principal


AdminSession = Annotated[Principal, Depends(get_admin_session)]


async def get_fresh_admin(request: Request, principal: AdminSession) -> Principal:
    """As `AdminSession`, with a password given a short while ago: for what makes access, and what cannot be undone."""
    await shared_of(request).sessions.require_fresh(tenant_db(request, principal))
    return principal


FreshAdmin = Annotated[Principal, Depends(get_fresh_admin)]


async def limit_address(request: Request) -> None:
    """For the routes that have no caller: the client's address is counted instead."""
    state = request.scope["state"]
    state["rate_limit"] = await shared_of(request).limits.count_address(state["client_address"])


LIMITED_BY_ADDRESS = Depends(limit_address)


def tenant_db(request: Request, principal: Principal) -> TenantSession:
    """The caller's tenant; a service opens its transactions with it."""
    return container_of(request).database.tenant_session(principal, origin_of(request))


def messages_db(request: Request, principal: Principal) -> TenantSession:
    """As `tenant_db`, for messages and conversations: a key needs the scope for it."""
    return scoped_db(request, principal, "messages:read" if request.method == "GET" else "messages:write")


def scoped_db(request: Request, principal: Principal, scope: Scope) -> TenantSession:
    """As `tenant_db`, for who logged in, and for a key that has the scope."""
    if principal.key_id is not None and scope not in principal.scopes:
        raise InsufficientScope
    return tenant_db(request, principal)


def session_db(request: Request, principal: Principal) -> TenantSession:
    """As `tenant_db`, for what only people do who have logged in."""
    if principal.session_id is None:
        raise SessionRequired
    return tenant_db(request, principal)


def tokens_of(request: Request, principal: Principal) -> CallersTokens:
    """How many the caller may use; the answer's headers tell."""
    return CallersTokens(
        shared_of(request).limits.tokens, principal, partial(setitem, request.scope["state"], "token_limit")
    )


async def get_tenants(request: Request) -> TenantService:
    shared = shared_of(request)
    return TenantService(shared.places, shared.passwords, origin_of(request), shared.creation)


async def get_tenant_settings(request: Request, principal: CurrentUser) -> TenantSettingsService:
    return TenantSettingsService(tenant_db(request, principal))


async def get_tenant_admin(request: Request, principal: FreshAdmin) -> TenantAdminService:
    names, container = shared_of(request).llm.catalogue.names, container_of(request)
    return TenantAdminService(tenant_db(request, principal), container.claims, names, container.webhooks.check)


async def get_export(request: Request, principal: FreshAdmin) -> ExportService:
    return ExportService(tenant_db(request, principal))


async def get_erasure(request: Request, principal: FreshAdmin) -> ErasureService:
    return ErasureService(tenant_db(request, principal), container_of(request).eraser)


async def get_registration(request: Request) -> RegistrationService:
    shared = shared_of(request)
    return RegistrationService(shared.places, shared.passwords, origin_of(request))


async def get_auth(request: Request) -> AuthService:
    shared = shared_of(request)
    return AuthService(shared.places, shared.passwords, shared.sessions, shared.limits, shared.tally)


async def get_sessions(request: Request) -> SessionService:
    return shared_of(request).sessions


async def get_origin(request: Request) -> Origin:
    return origin_of(request)


async def get_login_session(request: Request, principal: CurrentUser) -> TenantSession:
    return session_db(request, principal)


async def get_api_keys(request: Request, principal: CurrentUser) -> ApiKeyService:
    shared = shared_of(request)
    claims, models = container_of(request).claims, shared.llm.catalogue.names
    return ApiKeyService(session_db(request, principal), shared.sessions, claims, models)


async def get_health(request: Request) -> HealthService:
    shared, regions = shared_of(request), request.app.state.regions
    containers = [container_of(request)] if regions is None else regions.containers
    databases = [container.database for container in containers]
    supervisors = [container.background for container in containers]
    return HealthService(databases, supervisors, shared.llm, shared.limits, shared.cache)


async def get_profile(request: Request, principal: CurrentUser) -> ProfileService:
    return ProfileService(tenant_db(request, principal))


async def get_users(request: Request, principal: CurrentAdmin) -> UserService:
    return UserService(tenant_db(request, principal), shared_of(request).tally)


async def get_messages(request: Request, principal: CurrentUser) -> MessageService:
    container = container_of(request)
    db = messages_db(request, principal)
    return MessageService(
        db,
        container.engine,
        container.signals,
        container.intake,
        container.search_indexer,
        Quoting(db, container.shared.embedders, container.shared.meter, container.intake.passages),
        tokens_of(request, principal),
    )


async def get_images(request: Request, principal: CurrentUser) -> RequestImages:
    tenant_id, body = principal.tenant_id, request.scope["state"]["body"]
    return shared_of(request).images.of_request(tenant_id, lambda size: body.add(size, tenant_id))


async def get_models(request: Request, principal: CurrentUser) -> ModelService:
    shared = shared_of(request)
    return ModelService(scoped_db(request, principal, "messages:read"), shared.llm, shared.model_policies)


async def get_conversations(request: Request, principal: CurrentUser) -> ConversationService:
    return ConversationService(messages_db(request, principal), shared_of(request).idempotency_keys)


async def get_items(request: Request, principal: CurrentUser) -> ItemService:
    return ItemService(messages_db(request, principal), shared_of(request).idempotency_keys)


async def get_said(request: Request, principal: CurrentUser) -> SaidService:
    return SaidService(messages_db(request, principal))


async def get_documents(request: Request, principal: CurrentUser) -> DocumentService:
    container = container_of(request)
    if container.ingestion is None:
        raise DocumentsOff
    db, keys = messages_db(request, principal), container.shared.idempotency_keys
    return DocumentService(db, keys, container.shared.quotas, container.ingestion.ring)


async def get_document_search(request: Request, principal: CurrentUser) -> DocumentSearchService:
    # Its question stands in a body, for want of room in a URL; it changes nothing.
    shared = shared_of(request)
    return DocumentSearchService(scoped_db(request, principal, "messages:read"), shared.embedders, shared.meter)


async def get_usage(request: Request, principal: CurrentAdmin) -> UsageService:
    return UsageService(tenant_db(request, principal))


async def get_webhook_secrets(request: Request, principal: FreshAdmin) -> WebhookSecretService:
    return WebhookSecretService(tenant_db(request, principal), container_of(request).webhook_secrets)


async def get_budgets(request: Request, principal: CurrentAdmin) -> BudgetService:
    return BudgetService(tenant_db(request, principal), shared_of(request).ceiling)


async def get_budget_admin(request: Request, principal: AdminSession) -> BudgetAdminService:
    return BudgetAdminService(tenant_db(request, principal), shared_of(request).ceiling)


async def get_user_admin(request: Request, principal: FreshAdmin) -> UserAdminService:
    shared, claims = shared_of(request), container_of(request).claims
    return UserAdminService(tenant_db(request, principal), shared.passwords, shared.idempotency_keys, claims)


async def get_invites(request: Request, principal: FreshAdmin) -> InviteService:
    return InviteService(tenant_db(request, principal))


async def get_audit(request: Request, principal: CurrentAdmin) -> AuditService:
    return AuditService(tenant_db(request, principal), shared_of(request).tally)


async def get_key_set(request: Request) -> list[dict[str, str]]:
    return shared_of(request).public_keys


Tenants = Annotated[TenantService, Depends(get_tenants)]
Registration = Annotated[RegistrationService, Depends(get_registration)]
Auth = Annotated[AuthService, Depends(get_auth)]
Health = Annotated[HealthService, Depends(get_health)]
Profile = Annotated[ProfileService, Depends(get_profile)]
Users = Annotated[UserService, Depends(get_users)]
UserAdmin = Annotated[UserAdminService, Depends(get_user_admin)]
TenantOfCaller = Annotated[TenantSettingsService, Depends(get_tenant_settings)]
TenantAdmin = Annotated[TenantAdminService, Depends(get_tenant_admin)]
Export = Annotated[ExportService, Depends(get_export)]
Erasure = Annotated[ErasureService, Depends(get_erasure)]
Sessions = Annotated[SessionService, Depends(get_sessions)]
LoginSession = Annotated[TenantSession, Depends(get_login_session)]
CallerOrigin = Annotated[Origin, Depends(get_origin)]
ApiKeys = Annotated[ApiKeyService, Depends(get_api_keys)]
Invites = Annotated[InviteService, Depends(get_invites)]
Audit = Annotated[AuditService, Depends(get_audit)]
PublicKeys = Annotated[list[dict[str, str]], Depends(get_key_set)]
WebhookSecretOfTenant = Annotated[WebhookSecretService, Depends(get_webhook_secrets)]
Messages = Annotated[MessageService, Depends(get_messages)]
Images = Annotated[RequestImages, Depends(get_images)]
Models = Annotated[ModelService, Depends(get_models)]
Conversations = Annotated[ConversationService, Depends(get_conversations)]
ItemsOfConversations = Annotated[ItemService, Depends(get_items)]
WhatWasSaid = Annotated[SaidService, Depends(get_said)]
Documents = Annotated[DocumentService, Depends(get_documents)]
DocumentSearch = Annotated[DocumentSearchService, Depends(get_document_search)]
Usage = Annotated[UsageService, Depends(get_usage)]
Budgets = Annotated[BudgetService, Depends(get_budgets)]
BudgetAdmin = Annotated[BudgetAdminService, Depends(get_budget_admin)]
