"""How far the primary's log reaches: what a replica must have replayed before a read there is as fresh as here."""

import asyncio
from contextvars import Context

from app.db.connection import ask
from app.db.pool import NO_ANSWER, Pool

# What was committed is flushed, and what lies beyond is others' that nobody was told of. Where a commit does not wait
# for that (synchronous_commit = off), all that is written must have come.
POSITION = """
SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
  ELSE pg_current_wal_flush_lsn() END
"""
PATIENCE_SECONDS = 0.5


class Fence:
    """Reads that come while the primary is asked are answered by the next trip, all together.

    A position that was asked for before a read came may lie before a commit that its caller already knows of.
    """

    def __init__(self, primary: Pool) -> None:
        self._primary = primary
        self._waiting: list[asyncio.Future[str | None]] = []
        self._asking: asyncio.Task[None] | None = None

    async def position(self) -> str | None:
        """As of now or later; None if the primary does not say, as after a failover one that was demoted."""
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._asking is None:
            # Outside the request that happens to be the first: it may be cancelled.
            self._asking = asyncio.create_task(self._ask_for_all(), context=Context())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await answer
        except TimeoutError:
            return None

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask_for_all(self) -> None:
        try:
            while self._waiting:
                answers, self._waiting = self._waiting, []
                position = await self._ask()
                for answer in answers:
                    if not answer.done():
                        answer.set_result(position)
        finally:
            self._asking = None

    async def _ask(self) -> str | None:
        try:
            connection = await self._primary.take()
        except NO_ANSWER:
            return None
        try:
            (position,) = await ask(connection, POSITION)
        except NO_ANSWER:
            connection.terminate()
            return None
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._primary.give_back(connection)
        return position
