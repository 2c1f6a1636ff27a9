"""The passages that go with a message. They are found before it is stored, and no transaction is open meanwhile."""

from sqlalchemy import String, bindparam, text

from app.core.credentials.text_key import MARK
from app.core.errors import InsufficientScope
from app.core.principal import Principal
from app.db.execution import Connection, Record
from app.db.session import TenantSession
from app.documents.asked import Asked
from app.documents.embedding.embedders import Embedders
from app.documents.metering import Meter
from app.documents.prompt import Quoted, quote
from app.models.rows import MessageRow
from app.models.text_places import OF_SAID
from app.services.document_search_service import DocumentSearchService
from app.services.intake import PassageLimits
from app.services.prompts import Prompt

# Of the author's turns before, the newest: what "it" is stands there.
TURNS_BEFORE, CHARACTERS_OF_TURN = 3, 500
# A longer message is asked by its beginning and its end.
ASKED_CHARACTERS = 2_000
SAID = text("""
SELECT messages.id,
  CASE WHEN starts_with(messages.content, :mark) THEN messages.content ELSE left(messages.content, :most) END AS said
FROM messages
WHERE messages.tenant_id = :tenant_id AND messages.conversation_id = :conversation_id
  AND messages.user_id = :author_id AND messages.status = 'completed' AND messages.id <> :before
  AND (messages.created_at, messages.id) < (COALESCE((
    SELECT retried.created_at FROM messages AS retried WHERE retried.tenant_id = :tenant_id AND retried.id = :before
  ), 'infinity'), :before)
ORDER BY messages.created_at DESC, messages.id DESC LIMIT :turns
""").bindparams(*(bindparam(name, type_=String) for name in ("tenant_id", "conversation_id", "author_id", "before")))
NEWEST = "~"
"""After every id."""


class SaidRow(Record):
    __slots__ = ()
    text_places = OF_SAID
    if_unreadable = "leave out"

    said: str


class Quoting:
    """Passages for messages that the caller sends, or runs again.

    They are those that the message's author may see as a user: others' private documents stay out also where an admin
    asks, because the message is read by more people than its author.
    """

    def __init__(self, db: TenantSession, embedders: Embedders | None, meter: Meter, limits: PassageLimits) -> None:
        self._db = db
        self._search = DocumentSearchService(db, embedders, meter)
        self._limits = limits

    async def said_before(self, connection: Connection, sent: Prompt | MessageRow) -> str:
        """The author's turns before the message in its conversation, the newest first."""
        if sent.conversation_id is None:
            return ""
        caller = self._db.principal
        values = {
            "tenant_id": caller.tenant_id,
            "conversation_id": sent.conversation_id,
            "author_id": sent.user_id if isinstance(sent, MessageRow) else caller.user_id,
            "before": sent.id if isinstance(sent, MessageRow) else NEWEST,
            "mark": MARK,
            "most": CHARACTERS_OF_TURN,
            "turns": TURNS_BEFORE,
        }
        rows = (await connection.execute(SAID, values, SaidRow)).all()
        return "\n".join(row.said[:CHARACTERS_OF_TURN] for row in rows)

    async def quote(self, asked: Asked, content: str, author_id: str, before: str) -> Quoted:
        """What the prompt says of documents.

        Meaning is that of the message alone, words are also those of the turns `before`: so a new subject is found as
        if nothing had been said, and "and its price?" by the name that was (ADR 40).

        Raises:
            InsufficientScope: a key that may not read what it would be answered from.
            DocumentsOff, ProviderError, BudgetExceeded, ModelWithoutPrice: of the search.
        """
        caller = self._db.principal
        if caller.key_id is not None and "messages:read" not in caller.scopes:
            raise InsufficientScope
        author = Principal(author_id, caller.tenant_id, "user", 0)
        found = await self._search.search(
            _asked(content), asked.narrowed, asked.top_k, self._limits.floor, before=before, reader=author
        )
        return quote(found, self._limits.tokens)


def _asked(content: str) -> str:
    half = ASKED_CHARACTERS // 2
    return content if len(content) <= ASKED_CHARACTERS else f"{content[:half]}\n{content[-half:]}"
