"""Items that a client puts into a conversation itself: a message that nobody is asked to answer.

They are what a message was asked with. Each keeps the place that it had at first, whatever is taken away beside it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import String, bindparam, text

from app.core.errors import ItemStays, NotFound, NothingKept
from app.core.ids import new_id
from app.core.items import Item, ToolCall, ToolResult, last_of_user
from app.core.principal import Principal
from app.db.execution import Connection, Record
from app.db.sealing import seals
from app.messages.columns import REQUEST as REQUEST_COLUMN
from app.messages.contents import PLACES, Request
from app.messages.statements import DELETE, JSON
from app.messages.turns import check_results
from app.models.text_places import CONTENT, OF_ASKED, REQUEST

API = "items"
# A tenant that keeps nothing has no conversations: as in `app.messages.storing`, nothing of it is written.
STORE = seals(
    text("""
WITH made AS (
  INSERT INTO messages (id, tenant_id, user_id, conversation_id, content, response, status, api, has_contents,
    input_tokens, cached_tokens, output_tokens, cost_micro_usd, created_at, updated_at)
  SELECT :id, :tenant_id, :user_id, :conversation_id, :content, '', 'completed', 'items', true,
    0, 0, 0, 0, clock_timestamp(), clock_timestamp()
  WHERE NOT EXISTS (
    SELECT FROM tenants WHERE tenants.id = :tenant_id AND tenants.message_retention_days = 0)
  RETURNING tenant_id, id
), kept AS (
  INSERT INTO message_contents (tenant_id, message_id, request) SELECT made.tenant_id, made.id, :request FROM made
)
SELECT made.id FROM made
""").bindparams(
        *(bindparam(name, type_=String) for name in ("id", "tenant_id", "user_id", "conversation_id", "content")),
        bindparam("request", type_=JSON),
    ),
    content=CONTENT,
    request=REQUEST,
)
READ = text(f"""
SELECT messages.id, messages.api, {REQUEST_COLUMN} AS request FROM messages
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.conversation_id = :conversation_id
FOR UPDATE OF messages
""")
CHANGE = seals(
    text("""
WITH changed AS (
  UPDATE messages SET content = :content, updated_at = now()
  WHERE messages.tenant_id = :tenant_id AND messages.id = :id RETURNING messages.tenant_id, messages.id
)
UPDATE message_contents SET request = :request FROM changed
WHERE message_contents.tenant_id = :tenant_id AND message_contents.message_id = changed.id
""").bindparams(bindparam("content", type_=String), bindparam("request", type_=JSON)),
    content=CONTENT,
    request=REQUEST,
)


class AddedRow(Record):
    __slots__ = ()
    text_places = OF_ASKED
    if_unreadable = "raise"

    id: str
    api: str | None
    request: dict[str, Any] | None


async def store(
    connection: Connection, principal: Principal, conversation_id: str, items: Sequence[Item], message_id: str = ""
) -> str:
    """Put them at the end of a conversation, which nobody else changes meanwhile; the id of their message.

    Raises:
        NothingKept
    """
    values = {
        "id": message_id or new_id(),
        "tenant_id": principal.tenant_id,
        "user_id": principal.user_id,
        "conversation_id": conversation_id,
        **_written(dict(enumerate(items))),
    }
    made = (await connection.execute(STORE, values)).one_or_none()
    if made is None:
        raise NothingKept
    return str(values["id"])


async def take_away(connection: Connection, principal: Principal, conversation_id: str, id_: str, place: int) -> None:
    """Delete one of them, with their message where it was the last; the caller holds the conversation.

    Raises:
        NotFound
        ItemStays: what a model said or was asked, and a call with its result.
    """
    row = {"tenant_id": principal.tenant_id, "id": id_}
    found = (await connection.execute(READ, row | {"conversation_id": conversation_id}, AddedRow)).one_or_none()
    if found is None:
        raise NotFound
    if found.api != API or found.request is None:
        raise ItemStays
    items = Request.of("", found.request).by_place
    if place not in items:
        raise NotFound
    if isinstance(items.pop(place), ToolCall | ToolResult):
        raise ItemStays
    if items:
        await connection.execute(CHANGE, row | _written(items))
    else:
        await connection.execute(DELETE, row)


def check(items: Sequence[Item], waiting: Sequence[str] = ()) -> None:
    """Raises `ToolResultsMissing`, `ToolResultsUnasked`: a call stands with its result, as a model takes no other."""
    check_results(waiting, items)


def _written(items: dict[int, Item]) -> dict[str, Any]:
    content = last_of_user(list(items.values()))
    request = Request(tuple(items.values()), extra={PLACES: list(items)})
    return {"content": content, "request": request.stored(content)}
