from app.db.base import Base
from app.models.message import Message, MessageStatus
from app.models.tenant import Tenant
from app.models.user import User, UserRole

__all__ = ["Base", "Message", "MessageStatus", "Tenant", "User", "UserRole"]
