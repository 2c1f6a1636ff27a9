"""The pool of guarded connections: how one is opened, how old it may become, and when it is thrown away."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
import structlog
from sqlalchemy import URL

from app.db.connection import connect_arguments, is_pooled
from app.db.execution import read_json
from app.db.failures import READ_ONLY, is_stale, state_of
from app.db.rls import GuardedConnection

# A name may lead to another server by now: no connection is kept for longer, and they do not all end at once.
LIFE_SECONDS = 30 * 60
LIFE_JITTER = 0.2
# A failure on a connection as young as this says nothing about older ones.
YOUNG_SECONDS = 5
# Firewalls and address translators forget a silent connection after some minutes, without a word.
IDLE_SECONDS = 30
PING_SECONDS = 2
CLOSE_SECONDS = 2
NO_ANSWER = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """How many statements a connection keeps prepared, behind a pooler only if that keeps its clients' apart."""

    cache_size: int = 100
    kept_by_pooler: bool = False


DEFAULT = Prepared()


class Pool:
    """Up to `size` connections that nobody uses. How many are in use is the gate's to bound: nobody waits here.

    After a failover the sessions with the demoted server would stay and refuse every write: those as old as one that
    failed in such a way are no longer trusted.
    """

    listeners: ClassVar[list[Callable[[Any], None]]] = []
    """Told of every statement on connections that are opened from now on."""

    def __init__(
        self,
        url: URL,
        size: int,
        prepared: Prepared,
        command_seconds: float,
        connect_seconds: float | None = None,
    ) -> None:
        self._arguments = connect_arguments(url) | {
            "connection_class": GuardedConnection,
            "command_timeout": command_seconds,
            "max_cached_statement_lifetime": 0,
        }
        self._cache_size, self._kept_by_pooler = prepared.cache_size, prepared.kept_by_pooler
        if connect_seconds is not None:
            self._arguments["timeout"] = connect_seconds
        self._size = size
        self._idle: list[GuardedConnection] = []
        self._taken: set[GuardedConnection] = set()
        self._trusted_since = 0.0
        self._closed = False
        self.in_use = 0

    async def take(self) -> GuardedConnection:
        """The one that was used last, else a new one, to be given back in any case; raises what opening does."""
        self.in_use += 1
        try:
            while self._idle:
                if (connection := await self._newest_idle()) is not None:
                    return connection
            connection = await self.open()
        except BaseException:
            self.in_use -= 1
            raise
        self._taken.add(connection)
        return connection

    def give_back(self, connection: GuardedConnection) -> None:
        """It is in no transaction, or closed."""
        self.in_use -= 1
        self._taken.discard(connection)
        connection.used = time.monotonic()
        if self._closed or len(self._idle) >= self._size:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append(connection)

    def distrust(self, connection: GuardedConnection, error: BaseException) -> None:
        """Throw a connection away whose session is read-only, stale or does not answer, and those that are as old."""
        now = time.monotonic()
        if is_stale(error):
            self._trusted_since = now
        elif state_of(error) != READ_ONLY and not isinstance(error, TimeoutError):
            return
        # Where the server itself is read-only for a while, or slow, new connections are no better.
        elif now - connection.opened > YOUNG_SECONDS:
            self._trusted_since = now
        connection.terminate()

    def cut_off(self) -> None:
        """Cut every connection: what waits for an answer on one fails now. For a server that does not answer."""
        for connection in (*self._idle, *self._taken):
            connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(discard(connection) for connection in idle))

    async def open(self) -> GuardedConnection:
        """A new one."""
        prepared = self._cache_size
        connection: GuardedConnection = await asyncpg.connect(**self._arguments, statement_cache_size=prepared)
        try:
            if prepared and not self._kept_by_pooler and await is_pooled(connection):
                await discard(connection)
                return await self._open_unprepared()
            await read_json(connection)
            connection.hear_warnings()
            for listener in self.listeners:
                connection.add_query_logger(listener)
        except BaseException:
            connection.terminate()
            raise
        connection.opened = connection.used = time.monotonic()
        life = LIFE_SECONDS * random.uniform(1 - LIFE_JITTER, 1 + LIFE_JITTER)  # noqa: S311
        connection.ends = connection.opened + life
        return connection

    async def _open_unprepared(self) -> GuardedConnection:
        """Behind a pooler the name of a statement may meet another client's: the answer would be that one's."""
        if self._cache_size:
            logger.info("statements_not_prepared", reason="a pooler stands before the database")
        self._cache_size = 0
        return await self.open()

    async def _newest_idle(self) -> GuardedConnection | None:
        """None if it is of no use."""
        connection = self._idle.pop()
        self._taken.add(connection)  # it may have to be cut while it is asked whether it lives
        useful = False
        try:
            useful = await self._may_be_used(connection)
        finally:
            if not useful:
                self._taken.discard(connection)
        return connection if useful else None

    async def _may_be_used(self, connection: GuardedConnection) -> bool:
        """Whether it lives and is trusted; if not, it is closed.

        It costs no trip: the driver has seen the socket close. Only one that was idle for long may have been forgotten
        by something on the way that tells neither side; then so were the others.
        """
        if connection.is_closed():
            return False
        now = time.monotonic()
        if now > connection.ends or connection.opened < self._trusted_since or connection.is_in_transaction():
            await discard(connection)
            return False
        if now - connection.used <= IDLE_SECONDS:
            return True
        try:
            await connection.execute("SELECT 1", timeout=PING_SECONDS)
        except BaseException as error:
            connection.terminate()
            if not isinstance(error, NO_ANSWER):
                raise
            self._trusted_since = time.monotonic()
            return False
        return True


async def discard(connection: GuardedConnection) -> None:
    """Close a connection; what a cancelled statement still does at the server is ended first."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except NO_ANSWER:
        connection.terminate()
    except BaseException:
        connection.terminate()
        raise
