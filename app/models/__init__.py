from app.db.base import Base
from app.models.api_key import ApiKey
from app.models.audit_entry import AuditEntry
from app.models.budget import Budget, BudgetAlert, PeriodBudget, PeriodUnit
from app.models.conversation import Conversation
from app.models.deleted_usage import DeletedUsage
from app.models.directory import DirectoryClaim, DirectorySecret, DirectoryTenant, RegionIdentity
from app.models.document import (
    ChunkTerms,
    ChunkVector,
    Document,
    DocumentChunk,
    DocumentContent,
    DocumentStatus,
    DocumentTotals,
    DocumentVisibility,
    TermFrequency,
)
from app.models.embedding_hour import EmbeddingHour
from app.models.erased_tenant import ErasedTenant
from app.models.idempotency_key import IdempotencyKey
from app.models.invite import Invite
from app.models.message import Message, MessageStatus
from app.models.message_content import MessageContent
from app.models.message_delta import MessageDelta
from app.models.provider_key import ProviderKey, TenantDataKey
from app.models.search_block import SearchBlock
from app.models.tenant import MessageVisibility, RegistrationMode, Tenant
from app.models.text_key import TextKeyNote
from app.models.usage_day import UsageDay, UsageEnd
from app.models.user import User, UserRole
from app.models.user_session import UserSession

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Base",
    "Budget",
    "BudgetAlert",
    "ChunkTerms",
    "ChunkVector",
    "Conversation",
    "DeletedUsage",
    "DirectoryClaim",
    "DirectorySecret",
    "DirectoryTenant",
    "Document",
    "DocumentChunk",
    "DocumentContent",
    "DocumentStatus",
    "DocumentTotals",
    "DocumentVisibility",
    "EmbeddingHour",
    "ErasedTenant",
    "IdempotencyKey",
    "Invite",
    "Message",
    "MessageContent",
    "MessageDelta",
    "MessageStatus",
    "MessageVisibility",
    "PeriodBudget",
    "PeriodUnit",
    "ProviderKey",
    "RegionIdentity",
    "RegistrationMode",
    "SearchBlock",
    "Tenant",
    "TenantDataKey",
    "TermFrequency",
    "TextKeyNote",
    "UsageDay",
    "UsageEnd",
    "User",
    "UserRole",
    "UserSession",
]
