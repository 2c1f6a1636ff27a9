"""What a conversation or a user holds, deleted some rows a transaction. The figures of its messages stay.

A message that runs is left for the row that holds it to take along: until then its row is where its answer goes.

Rows are found along an index and deleted each at its place: one DELETE for all of them would be a join, or an array,
that a planner without statistics compares with each row of the tenant, and their keys it may look for along any index.
"""

from typing import Any

from sqlalchemy import TextClause, text

from app.db.batches import ALONG_THE_KEY, BATCH_ROWS, BEGINNING, owned
from app.db.execution import Connection, Row
from app.documents import totals
from app.documents.removal import remove_some, retire
from app.messages.statements import FIGURES

_ENDED = " AND messages.status <> 'pending'"
_FIGURES = ", ".join(f"messages.{column}" for column in FIGURES.split(", "))
_KEEP_FIGURES = f", kept AS (INSERT INTO deleted_usage ({FIGURES}) SELECT {FIGURES} FROM found)"
_HOLDS = f"""
(SELECT messages.id FROM messages
 WHERE messages.tenant_id = :tenant_id AND messages.conversation_id >= conversations.id
   AND messages.conversation_id <= conversations.id{_ENDED}
 ORDER BY messages.conversation_id, messages.created_at DESC, messages.id DESC LIMIT 1) IS NOT NULL AS holds"""

# Their figures are kept by the same statement: what was found is deleted in this transaction.
IN_CONVERSATION = owned("messages", "conversation_id", _FIGURES, further=_ENDED, then=_KEEP_FIGURES)
OF_USER = owned("messages", "user_id", _FIGURES, further=_ENDED, then=_KEEP_FIGURES)
# With whether each holds something. Locked, so nothing is said in them any more.
CONVERSATIONS_OF_USER = owned("conversations", "user_id", f"conversations.created_at, conversations.id, {_HOLDS}")
DELETE_MESSAGE = text("DELETE FROM messages WHERE messages.tenant_id = :tenant_id AND messages.ctid = :place")
DELETE_CONVERSATION = text(
    "DELETE FROM conversations WHERE conversations.tenant_id = :tenant_id AND conversations.ctid = :place"
)


def delete_idempotency_keys(rows: int = BATCH_ROWS) -> TextClause:
    return text(f"""
WITH bound AS (
  SELECT COALESCE(
    (SELECT idempotency_keys.key FROM idempotency_keys
     WHERE idempotency_keys.tenant_id = :tenant_id AND idempotency_keys.user_id = :owner
     ORDER BY idempotency_keys.key OFFSET {rows} - 1 LIMIT 1),
    (SELECT max(idempotency_keys.key) FROM idempotency_keys
     WHERE idempotency_keys.tenant_id = :tenant_id AND idempotency_keys.user_id = :owner)) AS key
), gone AS (
  DELETE FROM idempotency_keys
  WHERE idempotency_keys.tenant_id = :tenant_id AND idempotency_keys.user_id = :owner
    AND idempotency_keys.key <= (SELECT bound.key FROM bound)
  RETURNING idempotency_keys.key
)
SELECT count(*) FROM gone
""")


DELETE_IDEMPOTENCY_KEYS = delete_idempotency_keys()
BATCH_DOCUMENTS = 20
DOCUMENTS_OF_USER = text(f"""
SELECT documents.id FROM documents WHERE documents.tenant_id = :tenant_id AND documents.user_id = :owner
ORDER BY documents.created_at DESC, documents.id DESC LIMIT {BATCH_DOCUMENTS}
""")


class _Messages:
    """The messages of an owner, by one of these statements. What was deleted is not passed again."""

    def __init__(self, found: TextClause, tenant_id: str, owner: str) -> None:
        self._found, self._tenant_id, self._owner = found, tenant_id, owner
        self._position = BEGINNING

    async def delete_some(self, connection: Connection, room: int = BATCH_ROWS) -> int | None:
        """How many went; None if there may be more than there is room for."""
        whole, values = self._position is BEGINNING, {"tenant_id": self._tenant_id, "owner": self._owner, "rows": room}
        found = (await connection.execute(self._found, {**values, **self._position})).all()
        if found:
            await connection.execute_many(DELETE_MESSAGE, places(self._tenant_id, found))
        if len(found) == room:
            self._position = {"created_at": found[-1].created_at, "id": found[-1].id}
            return None
        # What lies before it may have ended since: the last batch of all begins at the beginning.
        self._position = BEGINNING
        return len(found) if whole else None


class ConversationContent:
    """The messages of a conversation in which nobody says anything any more."""

    def __init__(self, tenant_id: str, conversation_id: str) -> None:
        self._messages = _Messages(IN_CONVERSATION, tenant_id, conversation_id)

    async def delete_some(self, connection: Connection) -> bool:
        """Whether nothing is left."""
        await connection.execute(ALONG_THE_KEY)
        return await self._messages.delete_some(connection) is not None


class UserContent:
    """A user's messages, its conversations with what others wrote there, its documents and its idempotency keys."""

    def __init__(self, tenant_id: str, user_id: str) -> None:
        self._tenant_id = tenant_id
        self._owner = {"tenant_id": tenant_id, "owner": user_id}
        self._messages = _Messages(OF_USER, tenant_id, user_id)

    async def delete_some(self, connection: Connection) -> bool:
        """Whether nothing is left but the few rows that may go with the user: sessions, keys, what runs."""
        await connection.execute(ALONG_THE_KEY)
        deleted = await self._messages.delete_some(connection)
        if deleted is None or not await self._delete_conversations(connection, BATCH_ROWS - deleted):
            return False
        if not await self._delete_documents(connection):
            return False
        keys: int = (await connection.execute(DELETE_IDEMPOTENCY_KEYS, self._owner)).scalar_one()
        return keys < BATCH_ROWS

    async def _delete_documents(self, connection: Connection) -> bool:
        """Whether none is left. Each goes as if its uploader had deleted it: out of the words and totals, too."""
        found = (await connection.execute(DOCUMENTS_OF_USER, self._owner)).scalars()
        if found:
            await totals.lock(connection, self._tenant_id)
        for document_id in found:
            await retire(connection, self._tenant_id, document_id)
            if not await remove_some(connection, self._tenant_id, document_id):
                return False
        return len(found) < BATCH_DOCUMENTS

    async def _delete_conversations(self, connection: Connection, room: int) -> bool:
        """Whether none is left. They go once they are empty, `room` messages at most with them."""
        conversations = (
            await connection.execute(CONVERSATIONS_OF_USER, {**self._owner, **BEGINNING, "rows": BATCH_ROWS})
        ).all()
        for conversation in conversations:
            if conversation.holds:
                if not room:
                    return False
                held = _Messages(IN_CONVERSATION, self._tenant_id, conversation.id)
                deleted = await held.delete_some(connection, room)
                if deleted is None:
                    return False
                room -= deleted
        if conversations:
            await connection.execute_many(DELETE_CONVERSATION, places(self._tenant_id, conversations))
        return len(conversations) < BATCH_ROWS


def places(tenant_id: str, rows: list[Row]) -> list[dict[str, Any]]:
    """What `DELETE_MESSAGE` takes, of rows that this transaction has locked."""
    return [{"tenant_id": tenant_id, "place": row.place} for row in rows]
