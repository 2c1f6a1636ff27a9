"""A message that is being answered in this process: what it has said so far, and who waits for more."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.core.completion import Completion
from app.core.errors import OutputMalformed, ProviderError
from app.core.items import Delta, Item, ReasoningDelta
from app.core.rate_limits.tokens import Hold
from app.llm.base import Call
from app.messages.log import Log
from app.models.rows import MessageRow

if TYPE_CHECKING:
    from app.cache.cache import Lookup


class Reader:
    """Waits for something new. It holds no queue: what a reader has not seen is found by its offset."""

    __slots__ = ("_awaited", "_woken", "closed", "on_close")

    def __init__(self) -> None:
        self._awaited: asyncio.Future[None] | None = None
        self._woken = False
        self.closed = False
        self.on_close: Callable[[], None] | None = None

    def wake(self) -> None:
        self._woken = True
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    def close(self) -> None:
        """The client is gone: end the wait for good."""
        if not self.closed and self.on_close is not None:
            self.on_close()
        self.closed = True
        self.wake()

    async def changed(self) -> None:
        """Return at the next wake, at once if there was one since the last call."""
        if not self._woken:
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
            self._awaited = None
        self._woken = False


class Generation:
    """One run of a message. It belongs to the server: a reader may come, go, and come again.

    `row` is the message as it was reserved. `ended` is set last, by the engine.
    """

    __slots__ = (
        "asked", "attempt", "call", "calling", "cancelled", "claim", "ended", "error", "flushed", "hold", "id", "log",
        "lookup", "readers", "row", "started", "streams", "task", "tenant_id", "thoughts",
    )  # fmt: skip

    def __init__(
        self,
        row: MessageRow,
        call: Call,
        claim: int | None,
        *,
        streams: bool,
        lookup: "Lookup | None" = None,
        hold: Hold | None = None,
    ) -> None:
        self.row = row
        self.id = row.id
        self.tenant_id = row.tenant_id
        self.attempt = row.attempts
        self.claim = claim
        self.streams = streams
        self.call = replace(call, on_event=self.take if streams else None)
        self.lookup = lookup
        self.hold = hold
        self.asked = lookup is None
        """Whether the provider was: an answer that was kept, or waited for, costs nothing."""
        self.task: asyncio.Task[None]
        self.started = asyncio.get_running_loop().time()
        self.ended: asyncio.Future[MessageRow | None] = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(_retrieve)
        self.calling = True
        self.cancelled = False
        self.thoughts = 0
        self.error: ProviderError | None = None
        self.readers: set[Reader] = set()
        self.log = Log()
        self.flushed = 0
        """So much of the log is in the database."""

    def interrupt(self) -> bool:
        """Stop the provider's call; False if it has returned: then nothing may stop the storing of the end."""
        if self.calling:
            # Not at once: a task that is cancelled before its first step never takes it, and the message would not end.
            asyncio.get_running_loop().call_soon(self._stop_call)
        return self.calling

    def _stop_call(self) -> None:
        if self.calling:
            self.task.cancel()

    def take(self, event: Delta) -> None:
        """Take the next event from the provider.

        An empty one is counted: it may be a thought, about a token that nobody reads and somebody pays for.
        """
        if self.error is not None:
            return
        if isinstance(event, ReasoningDelta) and not event.text and event.sealed is None:
            self.thoughts += 1
            return
        try:
            self.log.take(event)
        except OutputMalformed as error:
            self.error = error
            self.interrupt()
        self.wake()

    def hear(self, answer: Completion) -> None:
        """Take an answer as a whole, where its pieces were not taken one by one; raises `OutputMalformed`."""
        if not self.streams:
            self.log = Log.of(answer.output)

    @property
    def output(self) -> tuple[Item, ...]:
        """What it has said, as items."""
        return self.log.items()

    def wake(self) -> None:
        for reader in self.readers:
            reader.wake()


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Nobody may be waiting: an error that was not fetched is no defect."""
    if not future.cancelled():
        future.exception()
