"""Items of conversations that clients add and take away themselves."""

from collections.abc import Sequence

from app.core.errors import NotFound
from app.core.ids import is_id, new_id
from app.core.items import Item
from app.db.session import TenantSession
from app.messages import added
from app.messages.idempotency import IdempotencyKeys, IdempotentRequest
from app.models.rows import ConversationRow
from app.services.audit_service import record_if_of_another
from app.services.conversation_service import find, find_to_change, turns_before


class ItemService:
    """In conversations of the caller's tenant: for their owners, and for admins."""

    def __init__(self, db: TenantSession, keys: IdempotencyKeys) -> None:
        self._db = db
        self._keys = keys

    async def add(self, conversation_id: str, items: Sequence[Item], request: IdempotentRequest | None) -> str:
        """Put items at its end; the id of the message that they are.

        Raises:
            NotFound, PermissionDenied
            ConversationBusy: one of its messages is being answered.
            ToolResultsMissing, ToolResultsUnasked: a call stands without its result, or a result without its call.
        """
        message_id, principal = new_id(), self._db.principal
        async with self._db.begin() as connection:
            made = await self._keys.claim(connection, principal, request, message_id)
            if made is not None:
                await find(connection, principal, conversation_id)
                return made
            conversation = await find_to_change(connection, principal, conversation_id)
            # Of what was said before, the newest alone says what is waited for.
            earlier = await turns_before(connection, principal, conversation_id, message_id, 0)
            added.check(items, earlier.waiting)
            await record_if_of_another(self._db, connection, "conversation.changed", conversation)
            return await added.store(connection, principal, conversation_id, items, message_id)

    async def take_away(self, conversation_id: str, message_id: str, place: int) -> ConversationRow:
        """Delete an item; what is left of its conversation.

        Raises:
            NotFound, PermissionDenied
            ItemStays: it goes with its response.
        """
        principal = self._db.principal
        if not is_id(message_id):
            raise NotFound
        async with self._db.begin() as connection:
            conversation = await find_to_change(connection, principal, conversation_id)
            await added.take_away(connection, principal, conversation_id, message_id, place)
            await record_if_of_another(self._db, connection, "conversation.changed", conversation)
            return conversation
