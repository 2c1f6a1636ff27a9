"""The engine, and the one place where a transaction is opened."""

import asyncio
from types import TracebackType
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.errors import AppError, DatabaseUnavailable
from app.core.principal import Origin, Principal
from app.db import rls

CONNECT_TIMEOUT_SECONDS = 10
COMMAND_TIMEOUT_SECONDS = 30
NOWHERE = Origin()
# Connection failure, transaction rollback (a deadlock: the same again succeeds), insufficient resources (disk, memory,
# connections), operator intervention, system error.
UNAVAILABLE = ("08", "40", "53", "57", "58")
FOREIGN_KEY_VIOLATION = "23503"


class Database:
    """A pool of guarded connections behind a first-in, first-out gate.

    The pool never overflows by default: opening a connection costs as much as many transactions.
    """

    def __init__(self, url: str | URL, pool_size: int, max_overflow: int = 0, statement_cache_size: int = 100) -> None:
        self.engine = _create_engine(make_url(url), pool_size, max_overflow, statement_cache_size)
        # asyncio's semaphore wakes its waiters in order; the pool's own queue lets a newcomer overtake.
        self._gate = asyncio.Semaphore(pool_size + max_overflow)

    def session(self, entry: str) -> "Session":
        """A session whose transactions begin with this SQL, made by `app.db.rls`."""
        return Session(self.engine, self._gate, entry)

    def tenant_session(self, principal: Principal, origin: Origin = NOWHERE) -> "TenantSession":
        return TenantSession(self, principal, origin)

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` unless a guarded transaction can be opened."""
        async with self.session(rls.ENTER_NO_TENANT) as db:
            await db.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


class Session:
    """One transaction: committed when its block ends well, rolled back when it raises.

    It is `async with session as connection`, so the commit happens before a route builds its answer. The first
    statement opens the transaction, in the same trip that enters the tenant.
    """

    __slots__ = ("_connection", "_engine", "_entry", "_gate")

    def __init__(self, engine: AsyncEngine, gate: asyncio.Semaphore, entry: str) -> None:
        self._engine, self._gate, self._entry = engine, gate, entry
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> AsyncConnection:
        await self._gate.acquire()
        try:
            connection = await self._engine.connect()
        except BaseException as error:
            self._gate.release()
            raise _domain_error(error) from error
        _driver(connection).entry = self._entry
        self._connection = connection
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        try:
            if error is None:
                await connection.run_sync(_commit_and_close)
        except BaseException as failure:  # noqa: BLE001 - raised again below, once the connection is back
            error = failure
        try:
            if error is not None:
                # A cancelled task must still give its connection back.
                await asyncio.shield(asyncio.ensure_future(connection.close()))
        finally:
            self._gate.release()
        if error is not None:
            if getattr(getattr(error, "orig", None), "sqlstate", None) == FOREIGN_KEY_VIOLATION:
                await self._enter_again()
            translated = _domain_error(error)
            if translated is not error or kind is None:
                raise translated from error

    async def _enter_again(self) -> None:
        """Raise what entering raises now: the caller, or its tenant, may have been deleted in mid-transaction."""
        async with Session(self._engine, self._gate, self._entry) as connection:
            await connection.execute(text("SELECT 1"))


class TenantSession:
    """Opens the transactions of one caller, in the caller's tenant. `origin` is for the audit log."""

    __slots__ = ("_database", "origin", "principal")

    def __init__(self, database: Database, principal: Principal, origin: Origin = NOWHERE) -> None:
        self._database = database
        self.principal = principal
        self.origin = origin

    def begin(self) -> Session:
        """A transaction that raises `AuthenticationError` once the user is gone or changed, or the session ended."""
        return self._database.session(rls.enter_as(self.principal))

    def settle(self) -> Session:
        """A transaction to end what was begun, also for a caller who lost access meanwhile."""
        return self._database.session(rls.enter_tenant(self.principal.tenant_id))


def _commit_and_close(connection: Connection) -> None:
    """Both in one switch to SQLAlchemy's greenlet; each costs as much as a small query's Python."""
    connection.commit()
    connection.close()


def _create_engine(url: URL, pool_size: int, max_overflow: int, statement_cache_size: int) -> AsyncEngine:
    connect_args: dict[str, Any] = {
        "connection_class": rls.GuardedConnection,
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "command_timeout": COMMAND_TIMEOUT_SECONDS,
        "statement_cache_size": statement_cache_size,
        "prepared_statement_cache_size": statement_cache_size,
    }
    if statement_cache_size == 0:  # PgBouncer in transaction mode: a name may meet another client's statement
        connect_args["prepared_statement_name_func"] = lambda: f"__{uuid4()}__"
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=COMMAND_TIMEOUT_SECONDS,
        connect_args=connect_args,
        hide_parameters=True,  # they are other people's prompts and hashes
    )
    event.listen(engine.sync_engine, "checkout", _on_checkout)
    return engine


def _on_checkout(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a connection that died in the pool; it costs no trip, the driver has already seen the socket close."""
    driver: rls.GuardedConnection = dbapi_connection.driver_connection
    driver.entry = None
    if driver.is_closed() or driver.is_in_transaction():
        raise DisconnectionError


def _driver(connection: AsyncConnection) -> rls.GuardedConnection:
    assert connection.sync_connection is not None
    driver: rls.GuardedConnection = connection.sync_connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def _domain_error(error: BaseException) -> BaseException:
    """What a database failure means to the domain; any other error is returned as it is."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        if state in rls.ERRORS:
            return rls.ERRORS[state]()
        if error.connection_invalidated or (state and state.startswith(UNAVAILABLE)):
            return DatabaseUnavailable()
    if isinstance(error, (OSError, TimeoutError)) or (
        isinstance(error, SQLAlchemyError) and type(error).__name__ == "TimeoutError"
    ):
        return DatabaseUnavailable()
    return error
