"""What of a conversation goes along with a message."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import ConversationBusy
from app.core.items import Message
from app.db.execution import Connection
from app.documents.prompt import Quoted
from app.llm.pricing import BYTES_PER_TOKEN, estimated_tokens
from app.messages.statements import TURNS, TurnRow
from app.models import MessageStatus


@dataclass(frozen=True, slots=True)
class Conversation:
    tenant_id: str
    id: str
    system_prompt: str | None


async def earlier_turns(
    connection: Connection, conversation: Conversation, message_id: str, room: int, own: str | None = None
) -> list[Message]:
    """The system prompt, and as many of the turns before the message that its author sees as fit in `room` tokens.

    `own`: a user who sees its own messages alone, of a message that is not stored yet. Raises `ConversationBusy`.
    """
    system = [Message("system", conversation.system_prompt)] if conversation.system_prompt else []
    room -= sum(estimated_tokens(turn.text) for turn in system)
    values = {
        "tenant_id": conversation.tenant_id,
        "conversation_id": conversation.id,
        "before": message_id,
        "own": own,
        "bytes": max(room, 0) * BYTES_PER_TOKEN,
    }
    earlier = (await connection.execute(TURNS, values, TurnRow)).all()
    if any(row.status == MessageStatus.PENDING for row in earlier):
        raise ConversationBusy
    return [*system, *_newest_that_fit(earlier, room)]


def turns_of(earlier: Sequence[Message], content: str, quoted: Quoted | None) -> list[Message]:
    """What the model is sent of a message, with the passages that go along."""
    return quoted.turns(earlier, content) if quoted else [*earlier, Message("user", content)]


def _newest_that_fit(newest_first: Sequence[TurnRow], room: int) -> list[Message]:
    kept: list[Message] = []
    for row in newest_first:
        if not row.response.strip():
            # Providers refuse an empty turn, and with it all that follow in this conversation.
            continue
        room -= estimated_tokens(row.content) + estimated_tokens(row.response)
        if room < 0:
            break
        kept += [Message("assistant", row.response), Message("user", row.content)]
    return kept[::-1]
