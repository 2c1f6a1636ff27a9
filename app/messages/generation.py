"""A message that is being answered in this process: its text so far, and who waits for more."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from app.core.errors import ProviderError
from app.core.items import Delta, Item, TextDelta
from app.llm.base import Call
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
        "_ends", "_held", "_pieces", "asked", "attempt", "call", "calling", "cancelled", "claim", "ended", "error",
        "flushed", "id", "lookup", "readers", "row", "started", "streams", "task", "tenant_id", "thoughts",
    )  # fmt: skip

    def __init__(
        self,
        row: MessageRow,
        turns: Sequence[Item],
        claim: int | None,
        *,
        streams: bool,
        lookup: "Lookup | None" = None,
    ) -> None:
        self.row = row
        self.id = row.id
        self.tenant_id = row.tenant_id
        self.attempt = row.attempts
        self.claim = claim
        self.streams = streams
        self.call = Call(turns, self.take if streams else None, self.tenant_id)
        self.lookup = lookup
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
        self.flushed = 0
        self._pieces: list[str] = []
        self._ends: list[int] = []
        self._held = ""

    def interrupt(self) -> bool:
        """Stop the provider's call; False if it has returned: then nothing may stop the storing of the end."""
        if self.calling:
            # Not at once: a task that is cancelled before its first step never takes it, and the message would not end.
            asyncio.get_running_loop().call_soon(self._stop_call)
        return self.calling

    def _stop_call(self) -> None:
        if self.calling:
            self.task.cancel()

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._ends[-1] if self._ends else 0

    def take(self, event: Delta) -> None:
        """Take the next event from the provider.

        What is no text is counted: it may be a thought, about a token that nobody reads and somebody pays for.
        """
        if isinstance(event, TextDelta):
            self.append(event.text)
        else:
            self.thoughts += 1

    def append(self, piece: str) -> None:
        """Take the next piece of text, fit for PostgreSQL, so that offsets here and there are the same."""
        if self._held or not piece.isascii():
            piece, self._held = _split_pair(self._held + piece)
        self._add(storable(piece))

    def finish_text(self) -> None:
        """Nothing more comes: a half character that waited for its other half is replaced."""
        held, self._held = self._held, ""
        self._add(storable(held))

    def _add(self, piece: str) -> None:
        if not piece:
            return
        self._ends.append(self.length + len(piece))
        self._pieces.append(piece)
        self.wake()

    def text_from(self, offset: int) -> str:
        """The text after the first `offset` characters."""
        first = bisect_right(self._ends, offset)
        start = self._ends[first - 1] if first else 0
        return "".join(self._pieces[first:])[offset - start :]

    def wake(self) -> None:
        for reader in self.readers:
            reader.wake()


def storable(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL cannot store: NUL and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _split_pair(text: str) -> tuple[str, str]:
    """The text without a high surrogate at its end, and that surrogate: its other half may come with the next piece."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Nobody may be waiting: an error that was not fetched is no defect."""
    if not future.cancelled():
        future.exception()
