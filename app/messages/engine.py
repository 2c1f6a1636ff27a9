"""Runs the messages of this process: calls the provider, stores what comes, ends each of them.

A run is a task of its own. The request that began it waits for it or reads along, and may go away.
"""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import TextClause

from app.core.completion import Completion
from app.core.errors import (
    AppError,
    DatabaseUnavailable,
    MessageInterrupted,
    OutputMalformed,
    ProviderError,
    ShuttingDown,
    TooManyRunning,
)
from app.core.items import TextDelta
from app.core.rate_limits.tokens import Hold
from app.db import rls
from app.db.failures import may_pass, reason_of
from app.db.session import Database
from app.llm.base import Call
from app.messages import ends
from app.messages.counts import count_end
from app.messages.delta_writer import DeltaWriter
from app.messages.generation import Generation
from app.messages.leases import LeaseKeeper
from app.messages.statements import SETTLE, SETTLE_OUTPUT, SETTLE_STREAM
from app.models.rows import MessageRow
from app.services.llm_service import LLMService

if TYPE_CHECKING:
    from app.cache.cache import Lookup

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.1, 5.0
DRAIN_LOOK_SECONDS = 0.02
logger = structlog.get_logger()


class MessageEngine:
    """`lease` bounds how long a killed process leaves a message `pending`; a live one renews it.

    `limit` bounds what a message may take in all, the storing of its end included. `running_per_tenant` bounds what one
    tenant may have running in this process.
    """

    def __init__(
        self, database: Database, llm: LLMService, lease: timedelta, limit: timedelta, running_per_tenant: int
    ) -> None:
        self.llm = llm
        self.lease = lease
        self.leases_lost = 0
        """Runs whose message had been ended in their place, or was gone, when they came to store their end."""
        self._limit = limit.total_seconds()
        self._database = database
        self._running: dict[str, Generation] = {}
        self._tenants: Counter[str] = Counter()
        self._running_per_tenant = running_per_tenant
        self._deltas = DeltaWriter(database, self._running, _stop)
        self.leases = LeaseKeeper(database, self._running, lease, limit)
        self.closed = False
        """Whether it takes no more messages."""

    @property
    def running(self) -> int:
        """How many messages this process answers."""
        return len(self._running)

    # --- admitting and starting

    def admit(self, tenant_id: str) -> None:
        """Take a place for a message of the tenant; `start` or `release` gives it back in the end.

        Raises:
            ShuttingDown, TooManyRunning
        """
        if self.closed:
            raise ShuttingDown
        if self._tenants[tenant_id] >= self._running_per_tenant:
            raise TooManyRunning
        self._tenants[tenant_id] += 1

    def release(self, tenant_id: str) -> None:
        self._tenants[tenant_id] -= 1
        if not self._tenants[tenant_id]:
            del self._tenants[tenant_id]

    def start(
        self,
        row: MessageRow,
        call: Call,
        claim: int | None,
        *,
        streams: bool,
        lookup: "Lookup | None" = None,
        hold: Hold | None = None,
    ) -> Generation:
        """Run a message that was admitted and reserved; with a `lookup` it may share its answer."""
        older = self._running.get(row.id)
        if older is not None:  # the sweep has ended it while it ran here: its answer would come too late
            older.interrupt()
        generation = Generation(row, call, claim, streams=streams, lookup=lookup, hold=hold)
        self._running[generation.id] = generation
        # Nothing runs before the next await: the run finds its task set.
        generation.task = asyncio.create_task(self._run(generation))
        return generation

    def find(self, message_id: str, attempt: int) -> Generation | None:
        generation = self._running.get(message_id)
        return generation if generation is not None and generation.attempt == attempt else None

    def cancel(self, message_id: str, attempt: int) -> None:
        """Stop the provider's call if this run of the message is here."""
        generation = self.find(message_id, attempt)
        if generation is not None:
            _stop(generation)

    def cancel_all(self, tenant_id: str) -> None:
        """Stop what runs here for a tenant that is being erased."""
        for generation in list(self._running.values()):
            if generation.tenant_id == tenant_id:
                _stop(generation)

    def wake_readers(self) -> None:
        """Let every reader look, so that one with nothing to read can show that it is there."""
        for generation in self._running.values():
            generation.wake()

    # --- one run

    async def _run(self, generation: Generation) -> None:
        try:
            end = await self._call(generation)
            tokens = end.pop("tokens")
            if generation.hold is not None and tokens is not None:
                await generation.hold.settle(tokens)
            statement = _settling(generation, end)
            if generation.streams:
                await self._deltas.finish(generation)
            row = await self._settle(generation, statement, end)
            if row is None:
                self.leases_lost += 1
                generation.error = MessageInterrupted()
            else:
                count_end(self.llm, generation, end)
            if generation.error is not None:
                generation.error.message_id = generation.id
            generation.ended.set_result(row)
        except Exception as error:
            # It stays pending, and ends with its lease.
            logger.exception("message_not_settled", message_id=generation.id)
            generation.ended.set_exception(error if isinstance(error, AppError) else DatabaseUnavailable())
        finally:
            if not generation.ended.done():  # cancelled where no cancelling is for the provider's call
                interrupted = MessageInterrupted()
                interrupted.message_id = generation.id
                generation.ended.set_exception(interrupted)
            if self._running.get(generation.id) is generation:
                del self._running[generation.id]
            self.release(generation.tenant_id)
            generation.wake()

    async def _call(self, generation: Generation) -> dict[str, Any]:
        """Await the provider; how the message ends, as parameters of `SETTLE`."""
        completion: Completion | None = None
        try:
            completion = await self._answer(generation)
        except ProviderError as error:
            generation.error = generation.error or error
        except asyncio.CancelledError:
            generation.task.uncancel()
            if not generation.cancelled and generation.error is None:  # by a shutdown
                generation.error = MessageInterrupted()
        except Exception:  # a defect of ours: nobody shall wait for the lease
            logger.exception("provider_call_broke", message_id=generation.id)
            generation.error = ProviderError()
        generation.calling = False
        try:
            _close_log(generation, completion)
            return self._end_of(generation, completion)
        except Exception:
            logger.exception("message_not_counted", message_id=generation.id)
            return ends.uncounted(generation, completion)

    async def _answer(self, generation: Generation) -> Completion:
        async def ask() -> Completion:
            generation.asked = True
            return await self.llm.complete(generation.call)

        if generation.lookup is None:
            return await ask()
        completion = await generation.lookup.answer(ask)
        if completion.cached and generation.streams:
            generation.take(TextDelta(completion.text))
        return completion

    def _end_of(self, generation: Generation, completion: Completion | None) -> dict[str, Any]:
        if generation.error is not None:
            return ends.failed(self.llm, generation, generation.error)
        if completion is None:
            return ends.cancelled(self.llm, generation)
        return ends.completed(self.llm, generation, completion)

    async def _settle(self, generation: Generation, statement: TextClause, end: dict[str, Any]) -> MessageRow | None:
        """Store the end, again and again until its time is over: an answer that was paid for is not lost to a failure.

        None if the message was deleted or ended by another meanwhile.
        """
        # Its user may be gone or demoted by now: the tenant is entered without one.
        session = self._database.background(rls.enter_tenant(generation.tenant_id))
        values = {"tenant_id": generation.tenant_id, "id": generation.id, "attempt": generation.attempt, **end}
        deadline = generation.started + self._limit
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                async with session as connection:
                    return (await connection.execute(statement, values, MessageRow)).one_or_none()
            except Exception as error:
                if not may_pass(error) or asyncio.get_running_loop().time() + pause > deadline:
                    raise
                logger.warning("settle_retried", message_id=generation.id, reason=reason_of(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    # --- the life of the process

    async def run(self) -> None:
        """Write what streams have produced, and hear of cancelled messages, until cancelled."""
        await self._deltas.run()

    async def drain(self, seconds: float) -> None:
        """Take no more messages; give those that were admitted `seconds` to end, and end the rest as interrupted."""
        self.closed = True
        if self._tenants:
            logger.info("draining", messages=self._tenants.total())
        deadline = asyncio.get_running_loop().time() + seconds
        interrupted: set[Generation] = set()
        # Places, not tasks: a message that is still being stored has no task yet.
        while self._tenants:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
            if asyncio.get_running_loop().time() >= deadline:
                for generation in set(self._running.values()) - interrupted:
                    generation.interrupt()
                    interrupted.add(generation)


def _settling(generation: Generation, end: dict[str, Any]) -> TextClause:
    if end["output"] is not None:
        return SETTLE_OUTPUT
    return SETTLE_STREAM if generation.streams and generation.row.stored else SETTLE


def _close_log(generation: Generation, completion: Completion | None) -> None:
    """Nothing more comes: what came as a whole is taken, and what cannot be kept is the provider's failure."""
    error = generation.error
    answer = completion or (error.answer if error else None)
    try:
        generation.log.finish()
        if answer is not None:
            generation.hear(answer)
    except OutputMalformed as malformed:
        generation.error = error or malformed
    if isinstance(generation.error, OutputMalformed):
        generation.error.answer = generation.error.answer or completion


def _stop(generation: Generation) -> None:
    generation.cancelled = generation.interrupt() or generation.cancelled
