"""Messages that are stored: followed, ended, read and deleted."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from app.core.errors import InsufficientScope, MessageEnded, MessageRunning, SearchEncrypted
from app.db.pagination import Page, PageRequest, page_of, parameters
from app.db.session import TenantSession
from app.db.visibility import viewer
from app.messages import stream
from app.messages.contents import Request
from app.messages.engine import MessageEngine
from app.messages.generation import Reader
from app.messages.listing import MessageFilter, listing
from app.messages.lookup import find, find_to_change, readable
from app.messages.search import search
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.statements import DELETE, END_WAITING, REQUEST_CANCEL, UNUSED
from app.messages.stream import ENDED, End, Event, Position, Read
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.services.audit_service import record_by, record_if_of_another
from app.services.intake import Intake
from app.services.prompts import Sent
from app.services.reserving import Reserving

CANCEL_WAIT_SECONDS = 3.0


class StoredMessages:
    """Messages of the caller's tenant, once they are sent."""

    def __init__(
        self,
        db: TenantSession,
        engine: MessageEngine,
        signals: MessageSignals,
        intake: Intake,
        search_indexer: SearchIndexer,
    ) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._engine = engine
        self._signals = signals
        self._search_indexer = search_indexer
        self._reserving = Reserving(db, intake)

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
        """What happens to the message that was sent, from its beginning.

        One that is not stored ends when its reader is closed: there is nowhere to come back to.
        """
        if not sent.row.stored:
            reader.on_close = partial(self.leave, sent)
        if sent.generation is not None:
            return stream.follow_running(sent.generation, self._db, self._signals, reader, 0)
        if sent.cache == "hit":
            return stream.follow_ended(sent.row)
        return stream.follow_stored(sent.row, self._read_of(sent.row.id), self._signals, reader, 0)

    def leave(self, sent: Sent) -> None:
        """Whoever sent it waits no more: what is not stored has nobody left."""
        if not sent.row.stored:
            self._engine.cancel(sent.row.id, sent.row.attempts)

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

    def require_reading(self) -> None:
        """Where a request that writes is answered with, or from, what was stored: a key needs the scope to read.

        Raises:
            InsufficientScope
        """
        caller = self._db.principal
        if caller.key_id is not None and "messages:read" not in caller.scopes:
            raise InsufficientScope

    async def get(self, message_id: str) -> MessageRow:
        """One message of the tenant.

        Raises:
            NotFound: the same for another tenant's and for none.
            TextUnreadable
        """
        async with self._db.begin() as connection:
            return readable(await find(connection, self._db.principal, message_id))

    async def request_of(self, message_id: str) -> Request:
        """What a message asked; raises as `get`."""
        async with self._db.begin() as connection:
            message = readable(await find(connection, self._db.principal, message_id))
            return await self._reserving.request_of(connection, message)

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
            SearchEncrypted: no words are stored.
        """
        if narrowed.q is not None:
            if self._db.seals_texts:
                raise SearchEncrypted
            self._search_indexer.searched(self._tenant_id)
        async with self._db.read() as connection:
            if not narrowed.has_an_index(own_alone=connection.own_alone):
                return await search(connection, self._tenant_id, narrowed, page)
            statement = listing(narrowed.conditions()).to_viewer(connection).page(page)
            values = {**viewer(self._db.principal), **narrowed.parameters(), **parameters(page)}
            rows = (await connection.execute(statement, values, MessageRow)).all()
        return page_of(rows, page)
