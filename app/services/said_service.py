"""What was said in a conversation, turn by turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import String, TextClause, bindparam, text

from app.core.ids import is_id
from app.core.items import Item
from app.db.session import TenantSession
from app.messages.columns import OUTPUT, REQUEST
from app.messages.contents import Request, read_output
from app.messages.turns import TurnRow
from app.models import MessageStatus
from app.services.conversation_service import find


def _statement(direction: str, onwards: str) -> TextClause:
    return text(f"""
    SELECT messages.id, messages.content, messages.response, messages.status,
      {REQUEST} AS request, {OUTPUT} AS output
    FROM messages
    WHERE messages.tenant_id = :tenant_id AND messages.conversation_id = :conversation_id
      AND messages.status IN ('completed', 'pending') AND (:own IS NULL OR messages.user_id = :own)
      AND (:start IS NULL OR (messages.created_at, messages.id) {onwards} (
        SELECT started.created_at, started.id FROM messages AS started
        WHERE started.tenant_id = :tenant_id AND started.id = :start AND started.conversation_id = :conversation_id))
    ORDER BY messages.created_at {direction}, messages.id {direction} LIMIT :most
    """).bindparams(bindparam("own", type_=String), bindparam("start", type_=String))


OLDEST_FIRST, NEWEST_FIRST = _statement("ASC", ">="), _statement("DESC", "<=")


@dataclass(frozen=True, slots=True)
class Said:
    """A message with what it was asked, by places, and what it answered: nothing while it runs."""

    message_id: str
    asked: Mapping[int, Item]
    output: Sequence[Item]


class SaidService:
    """Of the caller's tenant, as far as the caller sees it."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db

    async def turns(
        self, conversation_id: str, most: int, start: str | None = None, *, newest_first: bool
    ) -> Sequence[Said]:
        """At most so many, from the message `start` on; none if it is not of this conversation. Raises `NotFound`."""
        principal = self._db.principal
        if start is not None and not is_id(start):
            return []
        async with self._db.begin() as connection:
            await find(connection, principal, conversation_id)
            values = {
                "tenant_id": principal.tenant_id,
                "conversation_id": conversation_id,
                "own": principal.user_id if connection.own_alone else None,
                "start": start,
                "most": most,
            }
            statement = NEWEST_FIRST if newest_first else OLDEST_FIRST
            rows = (await connection.execute(statement, values, TurnRow)).all()
        return [_said(row) for row in rows]


def _said(row: TurnRow) -> Said:
    ended = row.status == MessageStatus.COMPLETED
    output = read_output(row.response, row.output) if ended else ()
    return Said(row.id, Request.of(row.content, row.request).by_place, output)
