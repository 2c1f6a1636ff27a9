"""The life of a message: reserve, call, settle.

reserve   a short transaction stores the prompt as `pending`, under a lease, and claims key and budgets
call      the engine awaits the provider, with no transaction and no connection
settle    a short transaction stores the answer, or why there is none, and what it cost
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from app.core.errors import (
    AppError,
    IdempotencyKeyInFlight,
    MessageEnded,
    MessageRunning,
)
from app.core.ids import new_id
from app.core.items import Message
from app.db.execution import Connection
from app.db.pagination import Page, PageRequest, page_of, parameters
from app.db.session import TenantSession
from app.db.visibility import viewer
from app.documents.asked import Asked
from app.documents.prompt import Quoted
from app.messages import stream
from app.messages.engine import MessageEngine
from app.messages.generation import Reader
from app.messages.idempotency import IdempotentRequest
from app.messages.listing import MessageFilter, listing
from app.messages.lookup import find, find_to_change
from app.messages.search import search
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.statements import DELETE, END_WAITING, REQUEST_CANCEL, RETRY, UNUSED
from app.messages.stream import ENDED, End, Event, Position, Read
from app.messages.turns import turns_of
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.services.audit_service import record_by, record_if_of_another
from app.services.intake import Intake
from app.services.kept_answers import KeptAnswers, Outdated
from app.services.prompts import Prompt, Sent
from app.services.quoting import Quoting
from app.services.reserving import Reserving

if TYPE_CHECKING:
    from app.cache.cache import Lookup

CANCEL_WAIT_SECONDS = 3.0


class MessageService:
    """Messages of the caller's tenant."""

    def __init__(
        self,
        db: TenantSession,
        engine: MessageEngine,
        signals: MessageSignals,
        intake: Intake,
        search_indexer: SearchIndexer,
        quoting: Quoting,
    ) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._engine = engine
        self._signals = signals
        self._intake = intake
        self._search_indexer = search_indexer
        self._quoting = quoting
        self._reserving = Reserving(db, intake)
        self._kept = KeptAnswers(intake.cache, db.principal)

    # --- sending

    async def send(self, prompt: Prompt, request: IdempotentRequest | None = None) -> Sent:
        """Accept a prompt and begin to answer it; from then on it is the server's to end.

        Raises:
            ShuttingDown, TooManyRunning, BudgetExceeded, ModelWithoutPrice: nothing was stored.
            NotFound, PermissionDenied, ConversationBusy: of the conversation.
            IdempotencyKeyInFlight, IdempotencyKeyReused, InvalidWebhookUrl
        """
        return await self._admitted(self._send(prompt, request))

    async def retry(self, message_id: str, *, streams: bool = False, background: bool = False) -> Sent:
        """Answer a failed or cancelled message again; raises as `send`, `MessageRunning`, `MessageEnded`."""
        return await self._admitted(self._retry(message_id, streams=streams, background=background))

    async def _admitted(self, beginning: Coroutine[Any, Any, Sent]) -> Sent:
        """Begin to the end even if the caller is cancelled: a stored prompt without a run would wait for its lease."""
        try:
            self._engine.admit(self._tenant_id)
        except AppError:
            beginning.close()
            raise
        task = asyncio.ensure_future(beginning)
        task.add_done_callback(self._give_back_place)
        return await asyncio.shield(task)

    def _give_back_place(self, beginning: "asyncio.Task[Sent]") -> None:
        if beginning.cancelled() or beginning.exception() or beginning.result().generation is None:
            self._engine.release(self._tenant_id)

    async def _send(self, prompt: Prompt, request: IdempotentRequest | None) -> Sent:
        await self._intake.ceiling.count(self._db)
        quoted = kept = None
        if prompt.documents is not None:
            async with self._db.begin() as connection:
                made = await self._intake.keys.look(connection, self._db.principal, request)
                if made is not None:
                    return await self._replay(connection, made, prompt)
                before = await self._quoting.said_before(connection, prompt)
            author = self._db.principal.user_id
            quoted = await self._quoting.quote(prompt.documents, prompt.content, author, before)
        if prompt.conversation_id is None:
            kept = await self._kept.before(turns_of([], prompt.content, quoted), prompt.cache)
        try:
            return await self._send_knowing(kept, prompt, quoted, request)
        except Outdated:
            return await self._send_knowing(None, prompt, quoted, request)

    async def _send_knowing(
        self, kept: "Lookup | None", prompt: Prompt, quoted: Quoted | None, request: IdempotentRequest | None
    ) -> Sent:
        message_id = new_id()
        once = request is not None and prompt.conversation_id is None
        statement, values, row = self._kept.reserving(kept, prompt, once=once)
        values |= {
            "id": message_id,
            "user_id": self._db.principal.user_id,
            "content": prompt.content,
            "conversation_id": prompt.conversation_id,
            "documents": prompt.documents and prompt.documents.stored(),
            "citations": quoted and quoted.citations,
            "webhook_url": None if prompt.webhook_url is None else self._intake.webhooks.check(prompt.webhook_url),
        }
        async with self._db.begin() as connection:
            if request and once:
                values |= self._intake.keys.parameters(request, self._db.principal, message_id)
            elif made := await self._intake.keys.claim(connection, self._db.principal, request, message_id):
                # Before the conversation is looked at: what it was made for may be busy or gone by now.
                return await self._replay(connection, made, prompt)
            turns = await self._reserving.turns(connection, prompt, message_id, quoted)
            claim = self._engine.llm.most_cost(turns)
            values |= self._intake.run_by(self._engine.lease, background=prompt.background)
            reserved = await self._reserving.reserve(connection, statement, values, claim, row)
            if reserved is None:
                assert request is not None
                made = await self._intake.keys.made_before(connection, self._db.principal, request)
                return await self._replay(connection, made, prompt)
            self._kept.check(kept, reserved)
        if kept and kept.entry:
            return self._kept.begun(reserved, None, kept)
        if self._intake.rang(background=prompt.background):
            return self._kept.begun(reserved, None, kept)
        kept = await self._kept.after(kept, turns, prompt.cache)
        run = self._engine.start(reserved, turns, claim, streams=prompt.streams, lookup=kept)
        return self._kept.begun(reserved, run, kept)

    async def _replay(self, connection: Connection, message_id: str, prompt: Prompt) -> Sent:
        row = await find(connection, self._db.principal, message_id)
        if row.status == MessageStatus.PENDING and not prompt.background:
            raise IdempotencyKeyInFlight(row.id)
        return Sent(row, None, self._kept.unasked)

    async def _retry(self, message_id: str, *, streams: bool, background: bool) -> Sent:
        await self._intake.ceiling.count(self._db)
        begun = quoted = None
        while begun is None:
            async with self._db.begin() as connection:
                message = await find_to_change(connection, self._db.principal, message_id)
                if message.status == MessageStatus.COMPLETED:
                    raise MessageEnded
                if message.documents is None or quoted is not None:
                    begun = await self._begin_again(connection, message, quoted, background=background)
                    break
                before = await self._quoting.said_before(connection, message)
            asked = Asked.of(message.documents)
            quoted = await self._quoting.quote(asked, message.content, message.user_id, before)
        reserved, turns, claim = begun
        if self._intake.rang(background=background):
            return Sent(reserved, None, self._kept.unasked)
        run = self._engine.start(reserved, turns, claim, streams=streams)
        return Sent(reserved, run, self._kept.unasked)

    async def _begin_again(
        self, connection: Connection, message: MessageRow, quoted: Quoted | None, *, background: bool
    ) -> tuple[MessageRow, list[Message], int | None]:
        await record_if_of_another(self._db, connection, "message.retried", message)
        turns = await self._reserving.turns(connection, message, message.id, quoted)
        claim = self._engine.llm.most_cost(turns)
        values = {"id": message.id, **self._intake.run_by(self._engine.lease, background=background)}
        values["citations"] = quoted and quoted.citations
        reserved = await self._reserving.reserve(connection, RETRY, values, claim)
        if reserved is None:
            raise MessageRunning
        return reserved, turns, claim

    # --- following and ending

    async def cancel(self, message_id: str) -> MessageRow:
        """Stop a message; what was written so far is kept. Still `pending` if its process does not answer.

        Raises:
            NotFound, PermissionDenied
            MessageEnded: it was completed, or failed, before.
        """
        async with self._db.begin() as connection:
            message = await find_to_change(connection, self._db.principal, message_id)
            values = {"tenant_id": self._tenant_id, "id": message_id}
            requested = (await connection.execute(REQUEST_CANCEL, values)).one_or_none()
            if requested is None:
                message = await find(connection, self._db.principal, message_id)
            else:
                await record_if_of_another(self._db, connection, "message.cancelled", message)
                if requested.waiting:
                    message = (await connection.execute(END_WAITING, values | UNUSED, MessageRow)).one()
        generation = self._engine.find(message_id, message.attempts)
        if generation is not None:
            self._engine.cancel(message_id, message.attempts)
            ended = await asyncio.shield(generation.ended)
            message = message if ended is None else ended
        elif message.status == MessageStatus.PENDING:
            message = await self._wait_for_end(message)
        if message.status in (MessageStatus.COMPLETED, MessageStatus.FAILED):
            raise MessageEnded
        return message

    def events(self, sent: Sent, reader: Reader) -> AsyncIterator[Event]:
        """What happens to the message that was sent, from its beginning."""
        if sent.generation is not None:
            return stream.follow_running(sent.generation, self._db, self._signals, reader, 0)
        if sent.cache == "hit":
            return stream.follow_ended(sent.row)
        return stream.follow_stored(sent.row, self._read_of(sent.row.id), self._signals, reader, 0)

    async def resume(self, message_id: str, position: Position | None, reader: Reader) -> AsyncIterator[Event] | None:
        """What happens to a message after a position, in whichever process it runs; None if it was read to its end."""
        row = await self.get(message_id)
        # What an earlier run wrote is no more.
        offset = position.offset if position is not None and position.attempt == row.attempts else 0
        if offset == ENDED:
            return None
        self._signals.admit(self._db.principal.user_id, reader)
        generation = self._engine.find(message_id, row.attempts)
        if generation is not None:
            return stream.follow_running(generation, self._db, self._signals, reader, offset)
        return stream.follow_stored(row, self._read_of(message_id), self._signals, reader, offset)

    def _read_of(self, message_id: str) -> Read:
        return stream.shared_read(self._db, self._signals.looks, message_id)

    async def _wait_for_end(self, message: MessageRow) -> MessageRow:
        reader = Reader()
        asyncio.get_running_loop().call_later(CANCEL_WAIT_SECONDS, reader.close)
        async for event in stream.follow_stored(message, self._read_of(message.id), self._signals, reader, 0):
            if isinstance(event, End) and event.row is not None:
                return event.row
        return message

    # --- reading and deleting

    async def get(self, message_id: str) -> MessageRow:
        """One message of the tenant; raises `NotFound`, the same for another tenant's and for none."""
        async with self._db.begin() as connection:
            return await find(connection, self._db.principal, message_id)

    async def delete(self, message_id: str) -> None:
        """Delete a message for good; what it used stays in the usage.

        Raises:
            NotFound: the tenant has no such message.
            PermissionDenied: it is somebody else's, and the caller is no admin.
            MessageRunning: its provider call has not ended.
        """
        async with self._db.begin() as connection:
            await find_to_change(connection, self._db.principal, message_id)
            deleted = await connection.execute(DELETE, {"tenant_id": self._tenant_id, "id": message_id})
            if not deleted.scalar_one():
                await find(connection, self._db.principal, message_id)  # or somebody was faster
                raise MessageRunning
            await record_by(self._db, connection, "message.deleted", message_id)

    async def list(self, page: PageRequest, narrowed: MessageFilter) -> Page[MessageRow]:
        """A page of the tenant's messages, as far as the caller sees them; raises `InvalidCursor`.

        Raises:
            NothingToSearchFor: `q` has no word.
        """
        if narrowed.q is not None:
            self._search_indexer.searched(self._tenant_id)
        async with self._db.read() as connection:
            if not narrowed.has_an_index(own_alone=connection.own_alone):
                return await search(connection, self._tenant_id, narrowed, page)
            statement = listing(narrowed.conditions()).to_viewer(connection).page(page)
            values = {**viewer(self._db.principal), **narrowed.parameters(), **parameters(page)}
            rows = (await connection.execute(statement, values, MessageRow)).all()
        return page_of(rows, page)
