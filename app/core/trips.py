"""A server that many ask at once, and that the service can do without: trips to it are shared, and it may go away."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class SharedTrips(Generic[Asked, Answer]):
    """What is asked while a trip is under way goes together in the next one. `travel` answers each, in order."""

    def __init__(self, travel: Callable[[list[Asked]], Awaitable[Sequence[Answer]]]) -> None:
        self._travel = travel
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._travelling: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answer:
        """Raises what the trip raises: it is the failure of those that went with it, and nobody else's."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._travelling is None:
            self._travelling = start(self._go())
        return await answer

    async def close(self) -> None:
        if self._travelling is not None:
            await self._travelling

    async def _go(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._take(batch)
        finally:
            self._travelling = None

    async def _take(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        # Those whose request is gone are done already.
        try:
            answers = await self._travel([asked for asked, _ in batch])
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
        except Exception as error:  # noqa: BLE001 - handed on
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
        finally:
            for _, waiting in batch:
                waiting.cancel()


class Presence:
    """Whether a server answers. The first failure ends the use of it, until a task of its own has really used it again.

    `use` raises while it does not work; `tell` hears of each change, with what went wrong.
    """

    def __init__(
        self, use: Callable[[], Awaitable[object]], tell: Callable[[Exception | None], None], retry_seconds: float
    ) -> None:
        self.available = False
        self.recovering: asyncio.Task[None] | None = None
        self._use = use
        self._tell = tell
        self._retry_seconds = retry_seconds
        self._closing = asyncio.Event()

    async def open(self) -> None:
        try:
            await self._use()
        except Exception as error:  # noqa: BLE001 - no failure of it is one of the service
            self.lose(error)
        else:
            self.available, self.recovering = True, None
            self._tell(None)

    def lose(self, error: Exception) -> None:
        if self.available or self.recovering is None:
            self._tell(error)
        self.available = False
        if self.recovering is None and not self._closing.is_set():
            self.recovering = start(self._recover())

    async def close(self) -> None:
        # Not by cancelling: asyncio.wait_for, which a client may use to write, can swallow that before Python 3.12.
        self._closing.set()
        if self.recovering is not None:
            await self.recovering

    async def _recover(self) -> None:
        while not self.available:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._retry_seconds)
                return
            await self.open()


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Outside the request that happens to be the first: its id must not stand in these lines of the log."""
    return asyncio.create_task(work, context=Context())
