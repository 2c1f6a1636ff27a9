"""What was said before a message, and goes along with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import String, bindparam, text

from app.core.errors import ConversationBusy, PreviousNotFound, ToolResultsMissing, ToolResultsUnasked
from app.core.items import Image, Item, Message, ToolCall, ToolResult, words_of
from app.db.execution import Connection, Record
from app.documents.prompt import Quoted
from app.llm.pricing import BYTES_PER_TOKEN, estimated_tokens
from app.messages.columns import OUTPUT, REQUEST
from app.messages.contents import Request, read_output
from app.models import MessageStatus
from app.models.text_places import OF_TURN

IMAGE_TOKENS = 1_600
"""Of an image, about."""
MOST_TURNS = 200
# More than a short text has beside it where it is sealed.
SEALED_BYTES = 64
# Of requests and outputs in the memory, images included.
MOST_CONTENT_BYTES = 32 * 2**20
_SIZE = """COALESCE((SELECT COALESCE(pg_column_size(message_contents.request), 0)
  + COALESCE(pg_column_size(message_contents.output), 0) FROM message_contents
  WHERE messages.has_contents AND message_contents.tenant_id = :tenant_id
    AND message_contents.message_id = messages.id), 0)"""
_TURN = f"""messages.id, messages.content, messages.response, messages.status, messages.created_at,
  messages.has_contents, {_SIZE} AS size"""
# The newest first, until `bytes` are full: a conversation may hold more than the memory. The newest may be waiting for
# what the message brings.
_WITHIN = f"""
SELECT messages.id, messages.content, messages.response, messages.status,
  {REQUEST} AS request, {OUTPUT} AS output
FROM (
  SELECT turns.*, row_number() OVER newest AS n, sum(size) OVER newest AS sizes,
    sum(octet_length(content) + octet_length(response)) OVER newest AS total
  FROM ({{turns}}) AS turns WINDOW newest AS (ORDER BY {{newest}})
) AS messages
WHERE (total <= :bytes AND sizes <= {MOST_CONTENT_BYTES}) OR n = 1 OR status = 'pending' ORDER BY n
"""
# What the author does not see is not for its model either, also where an admin runs the author's message again.
TURNS = text(f"""
WITH retried AS (
  SELECT messages.created_at, messages.user_id,
         users.role = 'admin' OR tenants.message_visibility = 'tenant' AS sees_all
  FROM messages JOIN users ON users.tenant_id = :tenant_id AND users.id = messages.user_id
    JOIN tenants ON tenants.id = :tenant_id
  WHERE messages.tenant_id = :tenant_id AND messages.id = :before
)
{
    _WITHIN.format(
        newest="created_at DESC, id DESC",
        turns=f'''
    SELECT {_TURN} FROM messages
    WHERE messages.tenant_id = :tenant_id AND messages.conversation_id = :conversation_id
      AND messages.status IN ('completed', 'pending') AND messages.id <> :before
      AND (messages.created_at, messages.id) < (COALESCE((SELECT retried.created_at FROM retried), 'infinity'), :before)
      AND (:own IS NULL OR messages.user_id = :own)
      AND COALESCE((SELECT retried.sees_all OR retried.user_id = messages.user_id FROM retried), true)
    ORDER BY messages.created_at DESC, messages.id DESC LIMIT {MOST_TURNS}''',
    )
}
""").bindparams(bindparam("own", type_=String))
# One after the other, each by its key.
CHAIN = text(f"""
WITH RECURSIVE chain AS (
  SELECT 1 AS depth, {_TURN}, messages.previous_id, messages.stored FROM messages
  WHERE messages.tenant_id = :tenant_id AND messages.id = :previous_id AND (:own IS NULL OR messages.user_id = :own)
  UNION ALL
  SELECT chain.depth + 1, earlier.* FROM chain CROSS JOIN LATERAL (
    SELECT {_TURN}, messages.previous_id, messages.stored FROM messages
    WHERE messages.tenant_id = :tenant_id AND messages.id = chain.previous_id
      AND (:own IS NULL OR messages.user_id = :own) LIMIT 1
  ) AS earlier WHERE chain.depth < {MOST_TURNS}
)
{_WITHIN.format(newest="depth", turns="SELECT * FROM chain WHERE chain.stored")}
""").bindparams(bindparam("own", type_=String), bindparam("previous_id", type_=String))


class TurnRow(Record):
    """A message as the model of a later one is sent it."""

    __slots__ = ()
    text_places = OF_TURN
    if_unreadable = "raise"

    id: str
    content: str
    response: str
    status: str
    request: dict[str, Any] | None
    output: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Conversation:
    tenant_id: str
    id: str
    system_prompt: str | None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was said before, oldest first. `waiting`: the ids of tool calls whose results are to come next."""

    items: list[Item] = field(default_factory=list)
    waiting: tuple[str, ...] = ()


NOTHING_EARLIER = Earlier()


async def earlier_turns(
    connection: Connection, conversation: Conversation, message_id: str, room: int, own: str | None = None
) -> Earlier:
    """The system prompt, and as many of the turns before the message that its author sees as fit in `room` tokens.

    `own`: a user who sees its own messages alone, of a message that is not stored yet. Raises `ConversationBusy`.
    """
    system: list[Item] = [Message("system", conversation.system_prompt)] if conversation.system_prompt else []
    room -= tokens_of(system)
    values = {
        "tenant_id": conversation.tenant_id,
        "conversation_id": conversation.id,
        "before": message_id,
        "own": own,
        "bytes": _bytes_of(connection, room),
    }
    rows = (await connection.execute(TURNS, values, TurnRow)).all()
    if any(row.status == MessageStatus.PENDING for row in rows):
        raise ConversationBusy
    earlier = _newest_that_fit(rows, room)
    return Earlier([*system, *earlier.items], earlier.waiting)


async def chain_before(
    connection: Connection, tenant_id: str, previous_id: str, room: int, own: str | None = None
) -> Earlier:
    """What a message goes on with: the one before it, what that went on with, and so on, as far as it fits.

    Raises:
        PreviousNotFound: the same for another tenant's, for one that is not stored or did not complete, and for none.
    """
    values = {"tenant_id": tenant_id, "previous_id": previous_id, "own": own, "bytes": _bytes_of(connection, room)}
    rows = (await connection.execute(CHAIN, values, TurnRow)).all()
    if not rows or rows[0].id != previous_id or rows[0].status != MessageStatus.COMPLETED or _is_blank(rows[0]):
        raise PreviousNotFound
    return _newest_that_fit([row for row in rows if row.status == MessageStatus.COMPLETED], room)


def items_of(earlier: Earlier, request: Request, quoted: Quoted | None) -> list[Item]:
    """What the model is sent of a message, with the passages that go along.

    Raises:
        ToolResultsMissing, ToolResultsUnasked: tools were called before, and this is not what they came to.
    """
    if earlier is not NOTHING_EARLIER:
        check_results(earlier.waiting, request.items)
    opening = [item for item in earlier.items if isinstance(item, Message) and item.role == "system"]
    if request.instructions:
        opening.append(Message("system", request.instructions))
    said = [item for item in earlier.items if not (isinstance(item, Message) and item.role == "system")]
    before = [*opening, *said] if request.instructions else earlier.items
    return quoted.turns(before, request.items) if quoted else [*before, *request.items]


def tokens_of(items: Iterable[Item]) -> int:
    """About."""
    return sum(estimated_tokens(words_of(item)) + _images(item) * IMAGE_TOKENS for item in items)


def _bytes_of(connection: Connection, room: int) -> int:
    """What is read at most: more than has room where it is stored sealed, which is about a third longer."""
    most = max(room, 0) * BYTES_PER_TOKEN
    return most if connection.texts is None else most * 3 // 2 + MOST_TURNS * 2 * SEALED_BYTES


def _images(item: Item) -> int:
    parts = item.content if isinstance(item, Message | ToolResult) and not isinstance(item.content, str) else ()
    return sum(isinstance(part, Image) for part in parts)


def check_results(waiting: Sequence[str], said: Iterable[Item]) -> None:
    """Each call of a tool is answered once, and before anything else is said.

    Raises:
        ToolResultsMissing, ToolResultsUnasked
    """
    left = set(waiting)
    for item in said:
        match item:
            case ToolCall(call_id):
                left.add(call_id)
            case ToolResult(call_id):
                if call_id not in left:
                    raise ToolResultsUnasked
                left.remove(call_id)
            case Message("user") if left:
                raise ToolResultsMissing
    if left:
        raise ToolResultsMissing


def _is_blank(row: TurnRow) -> bool:
    return not (row.content or row.response or row.request or row.output)


def _newest_that_fit(newest_first: Sequence[TurnRow], room: int) -> Earlier:
    """The calls of a tool and their results go together: a model takes none without the other."""
    kept: list[list[Item]] = []
    together: list[list[Item]] = []
    waiting: tuple[str, ...] | None = None
    for row in newest_first:
        request = Request.of(row.content, row.request)
        said = request.items
        output = read_output(row.response, row.output)
        if waiting is None:
            waiting = tuple(item.id for item in output if isinstance(item, ToolCall))
        answers = any(isinstance(item, ToolResult) for item in said)
        if not answers and not request.is_added and not _says_something(output):
            # Providers refuse an empty turn, and with it all that follow in this conversation.
            continue
        room -= tokens_of((*said, *output))
        together.append([*said, *output])
        if answers:
            continue
        if room < 0 and (kept or not waiting):
            break
        kept += together
        together = []
    return Earlier([item for turn in reversed(kept) for item in turn], waiting or ())


def _says_something(output: Iterable[Item]) -> bool:
    return any(isinstance(item, ToolCall) or (isinstance(item, Message) and item.text.strip()) for item in output)
