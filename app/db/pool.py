"""The pool of guarded connections: how one is opened, how old it may become, and when it is thrown away."""

import random
import time
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import rls
from app.db.connection import NO_ADDRESS, connect_arguments
from app.db.failures import READ_ONLY, state_of

# A name may lead to another server by now: no connection is kept for longer, and they do not all end at once.
LIFE_SECONDS = 30 * 60
LIFE_JITTER = 0.2
# A failure on a connection as young as this says nothing about older ones.
YOUNG_SECONDS = 5
# Firewalls and address translators forget a silent connection after some minutes, without a word.
IDLE_SECONDS = 30
PING_SECONDS = 2


def create_engine(
    url: URL, pool_size: int, max_overflow: int, statement_cache_size: int, command_seconds: float
) -> tuple[AsyncEngine, "Trust"]:
    connect_args: dict[str, Any] = connect_arguments(url) | {
        "connection_class": rls.GuardedConnection,
        "command_timeout": command_seconds,
        "statement_cache_size": statement_cache_size,
        "prepared_statement_cache_size": statement_cache_size,
    }
    if statement_cache_size == 0:  # PgBouncer in transaction mode: a name may meet another client's statement
        connect_args["prepared_statement_name_func"] = lambda: f"__{uuid4()}__"
    engine = create_async_engine(
        NO_ADDRESS,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=command_seconds,
        connect_args=connect_args,
        hide_parameters=True,  # they are other people's prompts and hashes
    )
    trust = Trust()
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "checkout", trust.on_checkout)
    event.listen(engine.sync_engine, "handle_error", trust.on_error)
    return engine, trust


def _on_connect(_dbapi_connection: Any, record: Any) -> None:
    opened = time.monotonic()
    record.info["opened"] = record.info["used"] = opened
    record.info["ends"] = opened + LIFE_SECONDS * random.uniform(1 - LIFE_JITTER, 1 + LIFE_JITTER)  # noqa: S311


async def _ping(driver: asyncpg.Connection) -> None:
    await driver.execute("SELECT 1", timeout=PING_SECONDS)


class Trust:
    """Which of the pool's connections may be used still.

    After a failover the sessions with the demoted server would stay in the pool and refuse every write.
    """

    def __init__(self) -> None:
        self._since = 0.0

    def on_checkout(self, dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        """Replace a connection that died in the pool, is too old, or no longer trusted.

        It costs no trip: the driver has seen the socket close. Only one that was idle for long may have been forgotten
        by something on the way that tells neither side; then so were the others.
        """
        driver: rls.GuardedConnection = dbapi_connection.driver_connection
        driver.fresh = False
        now, opened = time.monotonic(), record.info["opened"]
        idle, record.info["used"] = now - record.info["used"], now
        if driver.is_closed() or driver.is_in_transaction() or now > record.info["ends"] or opened < self._since:
            raise DisconnectionError
        if idle > IDLE_SECONDS:
            try:
                dbapi_connection.run_async(_ping)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                driver.terminate()
                raise InvalidatePoolError from error

    def on_error(self, context: ExceptionContext) -> None:
        """Throw away a connection that SQLAlchemy saw fail in a way that says so, and those that are as old."""
        error = context.sqlalchemy_exception or context.original_exception
        opened = 0.0 if context.connection is None else context.connection.info.get("opened", 0.0)
        if self.lost_with(error, opened):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False

    def lost_with(self, error: BaseException, opened: float) -> bool:
        """Whether a connection is to be thrown away: its session is read-only, or it does not answer."""
        lost = state_of(error) == READ_ONLY or isinstance(error, TimeoutError)
        now = time.monotonic()
        # Where the server itself is read-only for a while, or slow, new connections are no better.
        if lost and now - opened > YOUNG_SECONDS:
            self._since = now
        return lost
