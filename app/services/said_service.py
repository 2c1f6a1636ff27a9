"""What was said in a conversation, turn by turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, String, bindparam, text

from app.core.ids import is_id
from app.core.items import Item
from app.db.execution import Record
from app.db.session import TenantSession
from app.messages.columns import OUTPUT, REQUEST
from app.messages.contents import Request, read_output
from app.messages.turns import MOST_CONTENT_BYTES, TurnRow
from app.models import MessageStatus
from app.services.conversation_service import find

# As they are read: what is stored may be compressed to a hundredth.
_SIZE = """octet_length(messages.content) + octet_length(messages.response) + COALESCE((
    SELECT COALESCE(octet_length(message_contents.request::text), 0)
      + COALESCE(octet_length(message_contents.output::text), 0)
    FROM message_contents
    WHERE messages.has_contents AND message_contents.tenant_id = :tenant_id
      AND message_contents.message_id = messages.id), 0)"""
_SEEN = """messages.tenant_id = :tenant_id AND messages.conversation_id = :conversation_id
      AND messages.status IN ('completed', 'pending') AND (:own IS NULL OR messages.user_id = :own)"""
_BOUND = (bindparam("own", type_=String), bindparam("start", type_=String), bindparam("most", type_=Integer))
_LEAST = bindparam("least", type_=Integer)


class SizeRow(Record):
    """How large the turns are up to this one."""

    __slots__ = ()
    sizes: int


class Direction:
    """`sizes`: one after the other, until one has no room in the memory. `turns`: those before it."""

    def __init__(self, order: str, onwards: str) -> None:
        begin = f"""(:start IS NULL OR (messages.created_at, messages.id) {onwards}= (
        SELECT started.created_at, started.id FROM messages AS started
        WHERE started.tenant_id = :tenant_id AND started.id = :start AND started.conversation_id = :conversation_id))"""
        ordered = f"ORDER BY messages.created_at {order}, messages.id {order}"
        one = f"SELECT messages.created_at, messages.id, ({_SIZE})::bigint AS size FROM messages WHERE {_SEEN}"
        self.sizes = text(f"""
    WITH RECURSIVE sized AS (
      SELECT 1 AS n, first.* FROM ({one} AND {begin} {ordered} LIMIT 1) AS first
      UNION ALL
      SELECT sized.n + 1, next.created_at, next.id, sized.size + next.size FROM sized CROSS JOIN LATERAL (
        {one} AND (messages.created_at, messages.id) {onwards} (sized.created_at, sized.id) {ordered} LIMIT 1
      ) AS next WHERE sized.n < :most AND (sized.n <= :least OR sized.size <= {MOST_CONTENT_BYTES})
    )
    SELECT sized.size AS sizes FROM sized ORDER BY sized.n
    """).bindparams(*_BOUND, _LEAST)
        self.turns = text(f"""
    SELECT messages.id, messages.content, messages.response, messages.status,
      {REQUEST} AS request, {OUTPUT} AS output
    FROM messages WHERE {_SEEN} AND {begin} {ordered} LIMIT :most
    """).bindparams(*_BOUND)


OLDEST_FIRST, NEWEST_FIRST = Direction("ASC", ">"), Direction("DESC", "<")


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
    ) -> tuple[Sequence[Said], bool]:
        """At most so many, from the message `start` on; none if it is not of this conversation. Raises `NotFound`.

        And whether some are left out: as many come as the memory has room for, and one at least beside `start`.
        """
        principal = self._db.principal
        if start is not None and not is_id(start):
            return [], False
        # The one that is named was read before.
        least = min(most, 1 if start is None else 2)
        async with self._db.begin() as connection:
            await find(connection, principal, conversation_id)
            values = {
                "tenant_id": principal.tenant_id,
                "conversation_id": conversation_id,
                "own": principal.user_id if connection.own_alone else None,
                "start": start,
                "most": most,
                "least": least,
            }
            direction = NEWEST_FIRST if newest_first else OLDEST_FIRST
            sized = (await connection.execute(direction.sizes, values, SizeRow)).all()
            values["most"] = max(sum(row.sizes <= MOST_CONTENT_BYTES for row in sized), least)
            rows = (await connection.execute(direction.turns, values, TurnRow)).all()
        return [_said(row) for row in rows], len(rows) < len(sized)


def _said(row: TurnRow) -> Said:
    ended = row.status == MessageStatus.COMPLETED
    output = read_output(row.response, row.output) if ended else ()
    return Said(row.id, Request.of(row.content, row.request).by_place, output)
