from app.db.base import Base
from app.models.budget import Budget
from app.models.conversation import Conversation
from app.models.deleted_usage import DeletedUsage
from app.models.idempotency_key import IdempotencyKey
from app.models.message import Message, MessageStatus
from app.models.message_delta import MessageDelta
from app.models.tenant import Tenant
from app.models.user import User, UserRole

__all__ = [
    "Base",
    "Budget",
    "Conversation",
    "DeletedUsage",
    "IdempotencyKey",
    "Message",
    "MessageDelta",
    "MessageStatus",
    "Tenant",
    "User",
    "UserRole",
]
