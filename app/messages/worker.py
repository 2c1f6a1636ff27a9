"""Answers background messages that wait for a worker, whichever process reserved them.

take    across tenants, in the order of their tags: each is held for a lease, so that no other worker begins it
begin   inside its tenant, one statement that decides: what was begun, cancelled or deleted meanwhile is not begun here
run     as any message, by the engine

A worker that dies between the first two leaves a message that another takes. One that dies later leaves a message whose
provider may have been paid: it ends as interrupted, and is not run again by itself.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Interval, bindparam, text

from app.core.errors import (
    AppError,
    DatabaseUnavailable,
    PreviousNotFound,
    ToolResultsMissing,
    ToolResultsUnasked,
)
from app.core.supervision import Turns
from app.db import rls
from app.db.execution import Connection, Record
from app.db.session import Database
from app.documents.asked import quote_again
from app.documents.prompt import Quoted
from app.llm import needs
from app.llm.base import Call
from app.llm.policy import ModelPolicy, call_to
from app.messages.contents import Request
from app.messages.engine import MessageEngine
from app.messages.generation import Generation
from app.messages.statements import BEGIN, CITE, END_UNABLE, UNUSED
from app.messages.turns import NOTHING_EARLIER, Conversation, Earlier, chain_before, earlier_turns, items_of, tokens_of
from app.models.rows import MessageRow, QueuedMessageRow
from app.observability import tracing
from app.observability.instruments import BACKGROUND_MESSAGES, MESSAGES_ENDED

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache

LOOK_SECONDS = 1.0
# After a look that found nothing: what rings meanwhile is looked for once.
PAUSE_SECONDS = 0.05
# In a transaction.
MOST = 100
TAKE = text("SELECT tenant_id, id, attempts FROM take_queued_messages(:most, :per_tenant, :hold)").bindparams(
    bindparam("hold", type_=Interval)
)
logger = structlog.get_logger()


class TakenRow(Record):
    __slots__ = ()

    tenant_id: str
    id: str
    attempts: int


class Worker:
    """`concurrency`: messages that it answers at once. `per_tenant`: those of a tenant, in all workers together."""

    def __init__(
        self,
        database: Database,
        engine: MessageEngine,
        concurrency: int,
        per_tenant: int,
        context_tokens: int,
        cache: "ResponseCache | None" = None,
    ) -> None:
        self._cache = cache
        self.turns = Turns("queue")
        self._database = database
        self._engine = engine
        self._concurrency = concurrency
        self._per_tenant = per_tenant
        self._context_tokens = context_tokens
        self._under_way: set[asyncio.Task[None]] = set()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Look now: a message was reserved, or a place is free."""
        self._rung.set()

    async def run(self) -> None:
        """Answer what waits until cancelled; what was begun by then ends by itself."""
        while True:
            self._rung.clear()
            await self.turns.take(self.begin_waiting())
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._rung.wait()

    async def begin_waiting(self) -> None:
        """Take what waits, as far as there are places, and begin it."""
        while (free := self._concurrency - len(self._under_way)) > 0 and not self._engine.closed:
            most = min(free, MOST)
            values = {"most": most, "per_tenant": self._per_tenant, "hold": self._engine.lease}
            async with self._database.background(rls.ENTER_NO_TENANT) as connection:
                taken = (await connection.execute(TAKE, values, TakenRow)).all()
            for message in taken:
                task = asyncio.create_task(self._answer(message))
                self._under_way.add(task)
                task.add_done_callback(self._ended)
            if len(taken) < most:
                await asyncio.sleep(PAUSE_SECONDS)
                return

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self.ring()

    async def _answer(self, message: TakenRow) -> None:
        """Whatever fails before it was begun leaves it waiting: it is taken again when its hold is over."""
        BACKGROUND_MESSAGES.add("taken")
        try:
            generation = await self._begin(message)
        except (PreviousNotFound, ToolResultsMissing, ToolResultsUnasked):
            await self._give_up(message)
        except DatabaseUnavailable:
            logger.warning("queued_message_not_begun", message_id=message.id, reason="database unavailable")
        except AppError as error:
            logger.warning("queued_message_not_begun", message_id=message.id, reason=type(error).__name__)
        except Exception:
            logger.exception("queued_message_not_begun", message_id=message.id)
        else:
            if generation is not None:
                BACKGROUND_MESSAGES.add("begun")
                await asyncio.wait([generation.ended])

    async def _give_up(self, message: TakenRow) -> None:
        """End what goes on with something that was deleted meanwhile."""
        values = {"tenant_id": message.tenant_id, "id": message.id, "attempt": message.attempts, **UNUSED}
        try:
            async with self._database.background(rls.enter_tenant(message.tenant_id)) as connection:
                row = (await connection.execute(END_UNABLE, values, MessageRow)).one_or_none()
        except DatabaseUnavailable:  # it is taken again
            return
        if row is not None:
            MESSAGES_ENDED.add(row.status, row.error_code or "")

    async def _begin(self, message: TakenRow) -> Generation | None:
        """None if it waits no longer."""
        self._engine.admit(message.tenant_id)
        try:
            started = await self._start(message)
        except BaseException:
            self._engine.release(message.tenant_id)
            raise
        if started is None:
            self._engine.release(message.tenant_id)
        return started

    async def _start(self, message: TakenRow) -> Generation | None:
        values = {"tenant_id": message.tenant_id, "id": message.id, "attempt": message.attempts}
        # Its user may be gone or demoted by now: the tenant is entered without one.
        async with self._database.background(rls.enter_tenant(message.tenant_id)) as connection:
            row = (
                await connection.execute(BEGIN, {**values, "lease": self._engine.lease}, QueuedMessageRow)
            ).one_or_none()
            if row is None:
                return None
            quoted = None if row.citations is None else await self._quote(connection, row, row.citations)
            call = self._within_claim(await self._call(connection, row, quoted), row.claim_micro_usd)
        # What the engine does for it belongs there, however long this has ended by then.
        with tracing.continued("begin message", row.traceparent):
            lookup = await self._cache.look_for_queued(row, call) if self._cache else None
            return self._engine.start(row, call, row.claim_micro_usd, streams=True, lookup=lookup)

    async def _call(self, connection: Connection, row: QueuedMessageRow, quoted: Quoted | None) -> Call:
        """What it asked when it was stored, with what was said before."""
        request = Request.of(row.content, row.request)
        model = self._engine.llm.catalogue.named(row.asked_model or "")
        room = needs.room(model, self._context_tokens) - tokens_of(request.items) - (quoted.tokens if quoted else 0)
        earlier: Earlier = NOTHING_EARLIER
        if row.conversation_id is not None:
            conversation = Conversation(row.tenant_id, row.conversation_id, row.system_prompt)
            earlier = await earlier_turns(connection, conversation, row.id, room)
        elif row.previous_id is not None:
            earlier = await chain_before(connection, row.tenant_id, row.previous_id, room)
        items = items_of(earlier, request, quoted)
        return call_to(model, ModelPolicy.of(row.models), items, request.options, row.tenant_id)

    def _within_claim(self, call: Call, claim: int | None) -> Call:
        """Without the fallbacks where they may cost more than was set aside: they may have been added since then."""
        if claim is None:
            return call
        most = self._engine.llm.most_cost(call)
        return call if most is not None and most <= claim else replace(call, alone=True)

    async def _quote(self, connection: Connection, row: MessageRow, citations: list[dict[str, Any]]) -> Quoted:
        """The passages that were found when it was stored; what is gone by now is not cited either."""
        quoted = await quote_again(connection, row.tenant_id, row.user_id, citations)
        if quoted.citations != citations:
            values = {"tenant_id": row.tenant_id, "id": row.id, "citations": quoted.citations}
            await connection.execute(CITE, values)
        return quoted
