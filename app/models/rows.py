"""Rows as statements return them: what a service may rely on, checked by mypy, and once by the executor.

A class names the columns that a statement must return; `columns()` gives them to statements that are written out.
"""

from datetime import datetime
from typing import Any

from app.db.execution import Record
from app.db.pagination import PagedRow
from app.models.text_places import IN_CONVERSATION, OF_CONVERSATION, OF_QUEUED, OF_SHOWN


class MessageRow(PagedRow):
    """A message as it is shown. `output`: its items, where they are more than `response`; lists leave it out."""

    __slots__ = ()
    text_places = OF_SHOWN

    content: str
    response: str
    user_id: str
    tenant_id: str
    conversation_id: str | None
    status: str
    error_code: str | None
    finish_reason: str | None
    model: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    cost_micro_usd: int | None
    cached: bool
    attempts: int
    documents: dict[str, Any] | None
    citations: list[dict[str, Any]] | None
    api: str
    asked_model: str | None
    reasoning_tokens: int | None
    metadata: dict[str, str] | None
    previous_id: str | None
    stored: bool
    has_contents: bool | None
    output: list[dict[str, Any]] | None
    updated_at: datetime


class ReservedMessageRow(MessageRow):
    """With `allowed_models`, `default_model` of its tenant, and whether that keeps nothing."""

    __slots__ = ()

    models: list[Any]


class CachingMessageRow(ReservedMessageRow):
    """With `cache_ttl_seconds`, `cache_epoch` and `message_visibility` of its tenant."""

    __slots__ = ()

    caching: list[Any]


class QueuedMessageRow(ReservedMessageRow):
    """One that a worker begins, with the system prompt of its conversation, and `caching` as above."""

    __slots__ = ()
    text_places = OF_QUEUED
    other_rows = IN_CONVERSATION
    if_unreadable = "raise"

    cache_use: str | None
    caching: list[Any]
    claim_micro_usd: int | None
    traceparent: str | None
    system_prompt: str | None
    request: dict[str, Any] | None


class FoundMessageRow(MessageRow):
    """What a search met: a message that matches, or (its columns NULL) where the search ended. `n` counts from 1."""

    __slots__ = ()

    n: int
    hit_id: str
    hit_at: datetime
    matches: bool
    bytes: int


class UserRow(PagedRow):
    """Without the hash of the password, which the runtime's role may not even select."""

    __slots__ = ()

    email: str
    role: str
    tenant_id: str
    disabled_at: datetime | None


class NewTenantRow(Record):
    __slots__ = ()

    id: str
    name: str
    created_at: datetime


class TenantRow(NewTenantRow):
    __slots__ = ()

    registration: str
    message_visibility: str
    cache_ttl_seconds: int | None
    message_retention_days: int | None
    allowed_models: list[str] | None
    default_model: str | None
    event_webhook_url: str | None
    updated_at: datetime


class ConversationRow(PagedRow):
    __slots__ = ()
    text_places = OF_CONVERSATION

    tenant_id: str
    user_id: str
    title: str | None
    system_prompt: str | None
    metadata: dict[str, str] | None
    deleting_at: datetime | None
    updated_at: datetime


class ApiKeyRow(PagedRow):
    """Without the digest of the key."""

    __slots__ = ()

    tenant_id: str
    user_id: str
    name: str
    prefix: str
    scopes: list[str]
    allowed_models: list[str] | None
    expires_at: datetime | None
    last_used_at: datetime | None


class InviteRow(PagedRow):
    __slots__ = ()

    tenant_id: str
    user_id: str
    email: str
    expires_at: datetime


class AuditRow(PagedRow):
    __slots__ = ()

    tenant_id: str
    action: str
    actor_type: str
    actor_id: str | None
    target_id: str | None
    details: dict[str, Any]


class BudgetRow(Record):
    """In micro-USD, of the period that it is now."""

    __slots__ = ()

    user_id: str | None
    api_key_id: str | None
    period: str
    limit_micro_usd: int | None
    ceiling_micro_usd: int | None
    spent_micro_usd: int
    reserved_micro_usd: int
    resets_at: datetime


class ProviderKeyRow(Record):
    """Without the key."""

    __slots__ = ()

    provider: str
    base_url: str | None
    last_four: str | None
    set_by: str
    set_at: datetime


class UsageRow(Record):
    __slots__ = ()

    key: str | None
    model: str | None
    messages: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_micro_usd: int
    cache_hits: int
    embedding_tokens: int
    embedding_cost_micro_usd: int


class DocumentRow(PagedRow):
    __slots__ = ()

    tenant_id: str
    user_id: str
    name: str
    collection: str
    visibility: str
    media_type: str
    attributes: dict[str, Any]
    bytes: int
    status: str
    error_code: str | None
    progress: int
    pages: int | None
    characters: int | None
    chunks: int
    tokens: int
    current: bool
    updated_at: datetime
