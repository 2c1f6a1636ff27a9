"""One connection beside the pool that hears what other processes say (LISTEN), and comes back when it is cut off."""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog
from sqlalchemy import URL

from app.db.connection import LiveConnection, connect_arguments, is_pooled

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 5.0
# A name may lead elsewhere by now.
POOLED_SECONDS = 60.0
logger = structlog.get_logger()


class Listener:
    """Calls `heard` with each payload on the channel. What is said while it is cut off is lost: keep a slow poll."""

    def __init__(self, url: str | URL, channel: str, heard: Callable[[str], None]) -> None:
        self._arguments = connect_arguments(url) | {"connection_class": LiveConnection}
        self._channel = channel
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled; whatever refuses the connection is asked again."""
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                connection = await self._connect()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                logger.warning("listener_not_connected", reason=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)
                continue
            pause = FIRST_RETRY_SECONDS
            await self._listen(connection)
            await asyncio.sleep(pause)

    async def _connect(self) -> asyncpg.Connection:
        """Cut short, the driver leaves behind an error that nobody reads: what is being opened is closed when it is."""
        opening = asyncio.ensure_future(asyncpg.connect(**self._arguments))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Until the connection is cut off."""
        cut_off = asyncio.Event()
        connection.add_termination_listener(lambda _: cut_off.set())
        try:
            if await is_pooled(connection):
                # It would take LISTEN, and hand what is said to whoever has that server then. See the check at start.
                await asyncio.sleep(POOLED_SECONDS)
                return
            await connection.add_listener(self._channel, lambda _c, _pid, _channel, payload: self._heard(payload))
            await cut_off.wait()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("listener_disconnected", reason=type(error).__name__)
        else:
            logger.warning("listener_disconnected", reason="terminated")
        finally:
            connection.terminate()


def _close(opening: "asyncio.Future[asyncpg.Connection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().terminate()
