"""The life of a message: reserve, call, settle.

reserve   a short transaction stores the prompt as `pending`, under a lease, and claims key and budgets
call      the engine awaits the provider, with no transaction and no connection
settle    a short transaction stores the answer, or why there is none, and what it cost
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from app.core.errors import (
    AppError,
    IdempotencyKeyInFlight,
    MessageEnded,
    MessageRunning,
    NeedsStoring,
    NotStored,
)
from app.core.ids import new_id
from app.core.rate_limits.tokens import CallersTokens
from app.db.execution import Connection
from app.db.session import TenantSession
from app.documents.asked import Asked
from app.documents.prompt import Quoted
from app.llm.base import Call
from app.messages.engine import MessageEngine
from app.messages.idempotency import IdempotentRequest
from app.messages.log import storable
from app.messages.lookup import find, find_to_change, readable
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.statements import RETRY
from app.messages.turns import NOTHING_EARLIER
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.services.audit_service import record_if_of_another
from app.services.intake import Intake
from app.services.kept_answers import KeptAnswers
from app.services.model_service import Chosen, ModelService, Outdated
from app.services.prompts import Prompt, Sent
from app.services.quoting import Quoting
from app.services.stored_messages import StoredMessages

if TYPE_CHECKING:
    from app.cache.cache import Lookup


class MessageService(StoredMessages):
    """Messages of the caller's tenant."""

    def __init__(
        self,
        db: TenantSession,
        engine: MessageEngine,
        signals: MessageSignals,
        intake: Intake,
        search_indexer: SearchIndexer,
        quoting: Quoting,
        tokens: CallersTokens,
    ) -> None:
        super().__init__(db, engine, signals, intake, search_indexer)
        self._intake = intake
        self._quoting = quoting
        self._tokens = tokens
        self._kept = KeptAnswers(intake.cache, db.principal)
        self._models = ModelService(db, engine.llm, intake.model_policies)

    # --- sending

    async def send(self, prompt: Prompt, request: IdempotentRequest | None = None) -> Sent:
        """Accept a prompt and begin to answer it; from then on it is the server's to end.

        Raises:
            ShuttingDown, TooManyRunning, BudgetExceeded, ModelWithoutPrice: nothing was stored.
            NotFound, PermissionDenied, ConversationBusy: of the conversation.
            PreviousNotFound: there is none to go on with.
            ToolResultsMissing, ToolResultsUnasked: it does not bring what the model waits for.
            IdempotencyKeyInFlight, IdempotencyKeyReused, InvalidWebhookUrl
            NeedsStoring: of a message that is not to be stored.
            ModelNotFound, UnsupportedByModel
            TokensUsedUp, MoreThanTokenLimit
        """
        if not prompt.stored:
            prompt.require_storing()
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
        known = True
        while True:
            chosen = await self._models.choose(prompt.model)
            try:
                sent = prompt.unkept() if chosen.policy.keeps_nothing else prompt
            except NeedsStoring:
                if await self._models.keeps_nothing():
                    raise
                continue
            if known and not sent.goes_on:
                first = self._reserving.call_of(sent, chosen, NOTHING_EARLIER, quoted)
                kept = await self._kept.before(first, sent.caching)
            try:
                return await self._send_knowing(kept, replace(sent, model=chosen.asked), chosen, quoted, request)
            except Outdated:
                known, kept = False, None

    async def _send_knowing(
        self,
        kept: "Lookup | None",
        prompt: Prompt,
        chosen: Chosen,
        quoted: Quoted | None,
        request: IdempotentRequest | None,
    ) -> Sent:
        message_id = new_id()
        once = request is not None and not prompt.goes_on
        statement, values, row = self._kept.reserving(kept, prompt, once=once)
        values |= {
            "id": message_id,
            "user_id": self._db.principal.user_id,
            "content": storable(prompt.content) if prompt.stored else "",
            "conversation_id": prompt.conversation_id,
            "documents": prompt.documents and prompt.documents.stored(),
            "citations": quoted and quoted.citations,
            "webhook_url": None if prompt.webhook_url is None else self._intake.webhooks.check(prompt.webhook_url),
        }
        noting = self._intake.refusals.noting(self._db)
        async with noting, self._tokens.taking() as tokens, self._db.begin() as connection:
            if request and once:
                values |= self._intake.keys.parameters(request, self._db.principal, message_id)
            elif made := await self._intake.keys.claim(connection, self._db.principal, request, message_id):
                # Before the conversation is looked at: what it was made for may be busy or gone by now.
                return await self._replay(connection, made, prompt)
            call = await self._reserving.call(connection, prompt, message_id, chosen, quoted)
            claim = noting.need = self._engine.llm.most_cost(call)
            values |= self._intake.run_by(self._engine.lease, background=prompt.background)
            reserved = await self._reserving.reserve(connection, statement, values, claim, row)
            if reserved is None:
                assert request is not None
                made = await self._intake.keys.made_before(connection, self._db.principal, request)
                return await self._replay(connection, made, prompt)
            self._models.check(chosen, reserved.models)
            self._kept.check(kept, reserved)
            if not (kept and kept.entry):
                await tokens.take(partial(self._engine.llm.estimate, call))
        if kept and kept.entry:
            return self._kept.begun(reserved, None, kept)
        if self._intake.rang(background=prompt.background):
            return self._kept.begun(reserved, None, kept)
        kept = await self._kept.after(kept, call, prompt.caching)
        run = self._engine.start(reserved, call, claim, streams=prompt.streams, lookup=kept, hold=tokens.hold)
        return self._kept.begun(reserved, run, kept)

    async def _replay(self, connection: Connection, message_id: str, prompt: Prompt) -> Sent:
        row = await find(connection, self._db.principal, message_id)
        if row.status == MessageStatus.PENDING and not prompt.background:
            raise IdempotencyKeyInFlight(row.id)
        if not row.stored:
            raise NotStored(row.id)
        return Sent(row, None, self._kept.unasked)

    async def _retry(self, message_id: str, *, streams: bool, background: bool) -> Sent:
        await self._intake.ceiling.count(self._db)
        begun = quoted = None
        noting = self._intake.refusals.noting(self._db)
        while begun is None:
            with suppress(Outdated):
                async with noting, self._tokens.taking() as tokens, self._db.begin() as connection:
                    message = await self._to_retry(connection, message_id)
                    if message.documents is None or quoted is not None:
                        begun = await self._begin_again(connection, message, quoted, background=background)
                        noting.user_id, noting.need = message.user_id, begun[2]
                        await tokens.take(partial(self._engine.llm.estimate, begun[1]))
                        break
                    before = await self._quoting.said_before(connection, message)
                asked = Asked.of(message.documents)
                quoted = await self._quoting.quote(asked, message.content, message.user_id, before)
        reserved, call, claim = begun
        if self._intake.rang(background=background):
            return Sent(reserved, None, self._kept.unasked)
        run = self._engine.start(reserved, call, claim, streams=streams, hold=tokens.hold)
        return Sent(reserved, run, self._kept.unasked)

    async def _to_retry(self, connection: Connection, message_id: str) -> MessageRow:
        message = await find_to_change(connection, self._db.principal, message_id)
        if message.status == MessageStatus.COMPLETED:
            raise MessageEnded
        if not message.stored:
            raise NotStored(message.id)
        return readable(message)

    async def _begin_again(
        self, connection: Connection, message: MessageRow, quoted: Quoted | None, *, background: bool
    ) -> tuple[MessageRow, Call, int | None]:
        await record_if_of_another(self._db, connection, "message.retried", message)
        chosen = await self._models.choose(message.asked_model or "", connection)
        if chosen.policy.keeps_nothing:
            raise NotStored(message.id)
        call = await self._reserving.call(connection, message, message.id, chosen, quoted)
        claim = self._engine.llm.most_cost(call)
        values = {"id": message.id, **self._intake.run_by(self._engine.lease, background=background)}
        values |= {"citations": quoted and quoted.citations, "asked_model": chosen.asked or None}
        reserved = await self._reserving.reserve(connection, RETRY, values, claim)
        if reserved is None:
            raise MessageRunning
        self._models.check(chosen, reserved.models)
        return reserved, call, claim
