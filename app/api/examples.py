"""What requests and answers look like: the examples of the OpenAPI description, made of the schemas themselves.

All are about one tenant. Requests hold what is required and no more: Swagger UI fills its forms with them.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from app.core import errors
from app.core.completion import FinishReason
from app.core.rate_limits.policy import Policy, Standing
from app.models import (
    DocumentStatus,
    DocumentVisibility,
    MessageStatus,
    MessageVisibility,
    PeriodUnit,
    RegistrationMode,
    UserRole,
)
from app.schemas.api_key import ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from app.schemas.audit import AuditEntryRead
from app.schemas.conversation import ConversationCreate, ConversationRead, ConversationUpdate
from app.schemas.document import CollectionRead, DocumentCreate, DocumentRead
from app.schemas.health import Health, Readiness
from app.schemas.invite import InviteCreate, InviteCreated, InviteRead
from app.schemas.jwks import KeySet
from app.schemas.message import Citation, MessageCitations, MessageCreate, MessageRead, MessageRetry
from app.schemas.oauth import OAuthError
from app.schemas.problem import FieldError
from app.schemas.search import PassageRead, SearchRequest
from app.schemas.tenant import TenantCreate, TenantCreated, TenantSettings, TenantUpdate
from app.schemas.usage import BudgetRead, BudgetUpdate, UsageRead
from app.schemas.user import (
    AccessToken,
    Credentials,
    LogoutRequest,
    PasswordChange,
    RefreshRequest,
    TokenResponse,
    UserCreate,
    UserLogin,
    UserRead,
    UserRegister,
    UserUpdate,
)
from app.schemas.webhook import WebhookSecret

AT = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
TENANT = "01a20abe-50bf-7145-887a-afc9bd16364e"
ADMIN = "01a20abe-518e-7572-a3dc-e2f08a7bc6e1"
MESSAGE = "01a20b5f-6f3e-7d3a-9a52-5f1c5d3f4f0e"
CONVERSATION = "01a20b60-0b1c-7f2d-8e3f-9a0b1c2d3e4f"
DOCUMENT = "01a20b63-3e4f-7a5b-8c6d-7e8f9a0b1c2d"
CHUNK = "01a20b63-4f5a-7b6c-8d7e-8f9a0b1c2d3e"
REQUEST = "01a20b5f-6f3d-7b1a-8c2d-3e4f5a6b7c8d"
KEY = "01a20b61-1c2d-7e3f-9a4b-5c6d7e8f9a0b"
INVITE = "01a20b62-2d3e-7f4a-8b5c-6d7e8f9a0b1c"
PASSWORD, EMAIL = "s3cur3P@ssw0rd", "admin@acme.com"
NEXT_MONTH = datetime(2026, 12, 1, tzinfo=UTC)

_user = UserRead(id=ADMIN, email=EMAIL, role=UserRole.ADMIN, tenant_id=TENANT, created_at=AT)
_tenant = {"id": TENANT, "name": "Acme Corp", "created_at": AT}
_token = AccessToken(
    access_token="eyJhbGciOiJIUzI1NiIs...",
    expires_in=3600,
    refresh_token="llmr_01a20b5f...",
    refresh_expires_in=2592000,
)
_key = ApiKeyRead(
    id=KEY,
    name="nightly import",
    prefix="llms_4kZx9Qw",
    scopes=["messages:read", "messages:write"],
    allowed_models=None,
    user_id=ADMIN,
    expires_at=None,
    last_used_at=AT,
    created_at=AT,
)
_invite = InviteRead(
    id=INVITE,
    email="carol@acme.com",
    tenant_id=TENANT,
    user_id=ADMIN,
    expires_at=AT + timedelta(hours=72),
    created_at=AT,
)

_passage: dict[str, Any] = {"document_id": DOCUMENT, "chunk_id": CHUNK, "name": "handbook.md", "page": None}
_passage |= {"heading": "Machines > Leases", "start": 4180, "end": 4279, "score": 1.07}
_said = "A machine goes back at the end of its lease. Until the new one is there, it may stay for two weeks."
_citation = Citation(source=1, cited_text=_said, **_passage)

ANSWERS: tuple[BaseModel, ...] = (
    Health(),
    Readiness(
        replica="none",
        llm_provider="mock",
        rate_limits="memory",
        cache="off",
        background={"leases": "running", "deltas": "running", "notifications": "running"},
    ),
    KeySet(keys=[]),
    OAuthError(error="invalid_grant", error_description="Email or password is wrong."),
    TenantCreated(**_tenant, admin=_user),
    TenantSettings(
        **_tenant,
        registration=RegistrationMode.OPEN,
        message_visibility=MessageVisibility.TENANT,
        cache_ttl_seconds=None,
        message_retention_days=None,
        allowed_models=None,
        default_model=None,
        event_webhook_url=None,
        updated_at=AT,
    ),
    _user,
    _token,
    TokenResponse(**_token.model_dump(), user=_user),
    _key,
    ApiKeyCreated(**_key.model_dump(), key="llms_4kZx9QwT7vB2nM5cX8zL1jH4gF6dS3aP0oI9uY2tR5eW8qK4hX2m"),
    _invite,
    InviteCreated(**_invite.model_dump(), token="llmi_Yb3k9v..."),
    AuditEntryRead(
        id=REQUEST,
        action="user.created",
        actor_type="user",
        actor_id=ADMIN,
        api_key_id=None,
        target_id=ADMIN,
        address="203.0.113.7",
        request_id="from-the-caller",
        own_request_id=REQUEST,
        details={"role": "user"},
        created_at=AT,
    ),
    MessageRead(
        id=MESSAGE,
        content="How long may a machine stay after its lease?",
        response="For two weeks, until the new one is there [1].",
        user_id=ADMIN,
        tenant_id=TENANT,
        conversation_id=None,
        status=MessageStatus.COMPLETED,
        error_code=None,
        finish_reason=FinishReason.STOP,
        model="mock-echo",
        input_tokens=4,
        cached_tokens=None,
        output_tokens=9,
        cost_micro_usd=22,
        cached=False,
        attempts=1,
        citations=[_citation],
        created_at=AT,
        updated_at=AT,
    ),
    ConversationRead(
        id=CONVERSATION,
        title="Async Python",
        system_prompt="Answer in one sentence.",
        user_id=ADMIN,
        tenant_id=TENANT,
        created_at=AT,
        updated_at=AT,
    ),
    DocumentRead(
        id=DOCUMENT,
        name="handbook.md",
        collection="default",
        visibility=DocumentVisibility.TENANT,
        attributes={"year": 2026},
        media_type="text/markdown",
        bytes=18_204,
        status=DocumentStatus.READY,
        progress=100,
        error_code=None,
        pages=None,
        characters=18_112,
        chunks=21,
        tokens=4_402,
        user_id=ADMIN,
        tenant_id=TENANT,
        created_at=AT,
        updated_at=AT,
    ),
    CollectionRead(name="default", documents=1, chunks=21, bytes=18_204),
    PassageRead(collection="default", text=_said, **_passage),
    UsageRead(
        key=date(2026, 11, 26).isoformat(),
        messages=1,
        input_tokens=4,
        cached_tokens=0,
        output_tokens=9,
        cost_micro_usd=22,
        cache_hits=0,
        embedding_tokens=0,
        embedding_cost_micro_usd=0,
    ),
    BudgetRead(
        user_id=None,
        api_key_id=None,
        period=PeriodUnit.MONTH,
        limit_micro_usd=1_000_000,
        ceiling_micro_usd=None,
        spent_micro_usd=22,
        reserved_micro_usd=0,
        resets_at=NEXT_MONTH,
    ),
    WebhookSecret(secret="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
)
REQUESTS: tuple[BaseModel, ...] = (
    TenantCreate(name="Acme Corp", admin=Credentials(email=EMAIL, password=PASSWORD)),
    TenantUpdate(message_visibility=MessageVisibility.OWN),
    UserRegister(email="alice@acme.com", password=PASSWORD, tenant_id=TENANT),
    UserLogin(email=EMAIL, password=PASSWORD),
    RefreshRequest(refresh_token=_token.refresh_token),
    LogoutRequest(everywhere=True),
    PasswordChange(current_password=PASSWORD, new_password="n3w-s3cur3P@ssw0rd"),
    ApiKeyCreate(name="nightly import", scopes=["messages:read", "messages:write"]),
    MessageCreate(content="What is async Python?"),
    MessageRetry(),
    ConversationCreate(title="Async Python", system_prompt="Answer in one sentence."),
    DocumentCreate(name="handbook.md", text="# Machines\n\nA machine goes back at the end of its lease."),
    SearchRequest(query="How long may a machine stay after its lease?"),
    ConversationUpdate(title="Async Python"),
    UserCreate(email="bob@acme.com", password=PASSWORD, role=UserRole.USER),
    UserUpdate(disabled=True),
    InviteCreate(email="carol@acme.com"),
    BudgetUpdate(limit_micro_usd=1_000_000),
)
FORMS: dict[str, dict[str, Any]] = {
    "TokenForm": {"username": EMAIL, "password": PASSWORD},
    "DocumentForm": {"file": "# Machines", "name": "handbook.md"},
}

EVENTS = (
    f'event: message\ndata: {{"id":"{MESSAGE}","status":"pending"}}\n\n'
    f"event: citations\ndata: {MessageCitations(citations=[_citation]).model_dump_json()}\n\n"
    'event: delta\nid: 1-6\ndata: {"text": "A way "}\n\n'
    f'event: completed\nid: 1-end\ndata: {{"id":"{MESSAGE}","status":"completed","response":"A way to wait."}}\n\n'
)
TEXT = "# Machines\n\nA machine goes back at the end of its lease.\n"
LINES = '{"type":"tenant","id":"' + TENANT + '","name":"Acme Corp"}\n{"type":"end","counts":{"tenant":1}}\n'

_over_budget = errors.BudgetExceeded()
_over_budget.resets_at = NEXT_MONTH  # not the month in which the description is asked for

FIELD_ERROR = FieldError(loc=["body", "content"], msg="Field required", type="missing")
# What a status means most often; what it means at one operation stands below.
USUAL: dict[str, errors.AppError] = {
    "401": errors.AuthenticationError(),
    "402": _over_budget,
    "403": errors.PermissionDenied(),
    "404": errors.NotFound(),
    "409": errors.Conflict(),
    "429": errors.RateLimited(Standing(Policy.of("user", "1200/minute"), -1, 17)),
    "501": errors.DocumentsOff(),
    "502": errors.ProviderError(),
    "503": errors.DatabaseUnavailable(),
    "504": errors.ProviderTimeout(),
}
OWN: dict[tuple[str, str], errors.AppError] = {
    ("create_tenant", "401"): errors.OperatorTokenRequired(),
    ("create_tenant", "409"): errors.TenantNameTaken(),
    ("change_tenant", "409"): errors.TenantNameTaken(),
    ("erase_tenant", "409"): errors.NameNotConfirmed(),
    ("register", "403"): errors.InviteRequired(),
    ("register", "404"): errors.TenantNotFound(),
    ("register", "409"): errors.EmailTaken(),
    ("create_api_key", "403"): errors.FreshLoginRequired(),
    ("create_api_key", "409"): errors.TooManyApiKeys(),
    ("create_invite", "409"): errors.TooManyInvites(),
    ("create_user", "409"): errors.EmailTaken(),
    ("change_user", "409"): errors.LastAdmin(),
    ("delete_user", "409"): errors.LastAdmin(),
    ("login", "401"): errors.InvalidCredentials(),
    ("refresh", "401"): errors.InvalidRefreshToken(),
    ("change_password", "403"): errors.WrongPassword(),
    ("send_message", "409"): errors.ConversationBusy(),
    ("retry_message", "409"): errors.MessageRunning(),
    ("cancel_message", "409"): errors.MessageEnded(),
    ("delete_message", "409"): errors.MessageRunning(),
    ("add_document", "409"): errors.DocumentQuotaUsedUp("documents"),
    ("get_document_content", "409"): errors.DocumentNotRead(),
    ("delete_conversation", "409"): errors.MessageRunning(),
    ("create_conversation", "409"): errors.IdempotencyKeyInFlight(MESSAGE),
}
