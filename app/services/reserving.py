"""How a prompt is stored as a pending message."""

from typing import Any

from sqlalchemy import TextClause, text

from app.core.errors import ConversationBusy
from app.db.execution import Connection, Record
from app.db.failures import IntegrityViolation, violates
from app.db.session import TenantSession
from app.documents.prompt import Quoted
from app.llm import needs
from app.llm.base import Call
from app.llm.policy import call_to
from app.messages.columns import REQUEST
from app.messages.contents import Request
from app.messages.turns import NOTHING_EARLIER, Earlier, chain_before, items_of, tokens_of
from app.models.rows import MessageRow, ReservedMessageRow
from app.models.text_places import OF_ASKED
from app.services.conversation_service import turns_before
from app.services.intake import Intake
from app.services.model_service import Chosen
from app.services.prompts import Prompt

READ_REQUEST = text(f"""
SELECT messages.id, {REQUEST} AS request FROM messages WHERE messages.tenant_id = :tenant_id AND messages.id = :id
""")


class AskedRow(Record):
    __slots__ = ()
    text_places = OF_ASKED
    if_unreadable = "raise"

    id: str
    request: dict[str, Any] | None


class Reserving:
    """Messages of one caller."""

    def __init__(self, db: TenantSession, intake: Intake) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._intake = intake

    async def request_of(self, connection: Connection, message: MessageRow) -> Request:
        """What a stored message asked."""
        if not message.has_contents:
            return Request.of(message.content, None)
        values = {"tenant_id": self._tenant_id, "id": message.id}
        return Request.of(message.content, (await connection.execute(READ_REQUEST, values, AskedRow)).one().request)

    async def call(
        self,
        connection: Connection,
        sent: Prompt | MessageRow,
        message_id: str,
        chosen: Chosen,
        quoted: Quoted | None,
    ) -> Call:
        """What the model is asked.

        Raises:
            UnsupportedByModel
            NotFound, ConversationBusy, PreviousNotFound, ToolResultsMissing, ToolResultsUnasked: of what was before.
        """
        request = sent.request if isinstance(sent, Prompt) else await self.request_of(connection, sent)
        room = (
            needs.room(chosen.model, self._intake.context_tokens)
            - tokens_of(request.items)
            - (quoted.tokens if quoted else 0)
        )
        earlier = await self._earlier(connection, sent, message_id, room)
        return self._call(request, chosen, earlier, quoted)

    def call_of(self, prompt: Prompt, chosen: Chosen, earlier: Earlier, quoted: Quoted | None) -> Call:
        """As `call`, of a prompt by what was said before it."""
        return self._call(prompt.request, chosen, earlier, quoted)

    def _call(self, request: Request, chosen: Chosen, earlier: Earlier, quoted: Quoted | None) -> Call:
        items = items_of(earlier, request, quoted)
        needs.require(chosen.model, items, request.options)
        return call_to(chosen.model, chosen.policy, items, request.options, self._tenant_id)

    async def _earlier(self, connection: Connection, sent: Prompt | MessageRow, message_id: str, room: int) -> Earlier:
        principal = self._db.principal
        if sent.conversation_id is not None:
            return await turns_before(connection, principal, sent.conversation_id, message_id, room)
        if sent.previous_id is not None:
            own = principal.user_id if connection.own_alone else None
            return await chain_before(connection, self._tenant_id, sent.previous_id, room, own)
        return NOTHING_EARLIER

    async def reserve(
        self,
        connection: Connection,
        statement: TextClause,
        values: dict[str, Any],
        claim: int | None,
        row: type[ReservedMessageRow] = ReservedMessageRow,
    ) -> ReservedMessageRow | None:
        """The pending message; None if the statement's condition did not hold. Budgets are claimed at the commit."""
        values |= {"tenant_id": self._tenant_id, "claim": claim}
        await self._intake.ceiling.bound(connection)
        try:
            return (await connection.execute(statement, values, row)).one_or_none()
        except IntegrityViolation as error:
            if violates(error, "uq_messages_pending_conversation"):
                raise ConversationBusy from None
            raise
