"""How a prompt is stored as a pending message."""

from typing import Any

from sqlalchemy import TextClause

from app.core.errors import ConversationBusy
from app.core.items import Message
from app.db.execution import Connection
from app.db.failures import IntegrityViolation, violates
from app.db.session import TenantSession
from app.documents.prompt import Quoted
from app.llm.pricing import estimated_tokens
from app.messages.turns import turns_of
from app.models.rows import MessageRow
from app.services.conversation_service import turns_before
from app.services.intake import Intake
from app.services.prompts import Prompt


class Reserving:
    """Messages of one caller."""

    def __init__(self, db: TenantSession, intake: Intake) -> None:
        self._db = db
        self._intake = intake

    async def turns(
        self, connection: Connection, sent: Prompt | MessageRow, message_id: str, quoted: Quoted | None
    ) -> list[Message]:
        """What the model is sent; raises as `turns_before`."""
        earlier: list[Message] = []
        if sent.conversation_id is not None:
            room = self._intake.context_tokens - estimated_tokens(sent.content) - (quoted.tokens if quoted else 0)
            earlier = await turns_before(connection, self._db.principal, sent.conversation_id, message_id, room)
        return turns_of(earlier, sent.content, quoted)

    async def reserve(
        self,
        connection: Connection,
        statement: TextClause,
        values: dict[str, Any],
        claim: int | None,
        row: type[MessageRow] = MessageRow,
    ) -> MessageRow | None:
        """The pending message; None if the statement's condition did not hold. Budgets are claimed at the commit."""
        values |= {"tenant_id": self._db.principal.tenant_id, "claim": claim}
        await self._intake.ceiling.bound(connection)
        try:
            return (await connection.execute(statement, values, row)).one_or_none()
        except IntegrityViolation as error:
            if violates(error, "uq_messages_pending_conversation"):
                raise ConversationBusy from None
            raise
