"""One connection beside the pool that hears what other processes say (LISTEN), and comes back when it is cut off."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

RECONNECT_SECONDS = 1.0
logger = structlog.get_logger()


class Listener:
    """Calls `heard` with each payload on the channel. What is said while it is cut off is lost: keep a slow poll."""

    def __init__(self, url: str | URL, channel: str, heard: Callable[[str], None]) -> None:
        self._engine = create_async_engine(make_url(url), poolclass=NullPool, hide_parameters=True)
        self._channel = channel
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning("listener_disconnected", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            cut_off = asyncio.Event()
            driver.add_termination_listener(lambda _: cut_off.set())
            await driver.add_listener(self._channel, lambda _c, _pid, _channel, payload: self._heard(payload))
            await cut_off.wait()
            logger.warning("listener_disconnected", error="terminated")
        finally:
            connection.invalidate()
