"""A transaction that only reads, at the replica while that is as fresh as the primary, else at the primary."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import asyncpg

from app.core.errors import AuthenticationError, DatabaseBusy, DatabaseUnavailable, StatementTooLong
from app.db.execution import Connection
from app.db.failures import domain_error
from app.observability.instruments import REPLICA_READS

if TYPE_CHECKING:
    from app.db.replica import Replica
    from app.db.session import Session


class Reading:
    """`async with reading as connection`, as a `Session`; a write in it fails, at whichever server.

    Each statement sees what was committed when it began. So one that the replica does not answer, because it died, was
    promoted, or had to forget what the statement reads, is executed at the primary, and so are those after it.
    """

    __slots__ = ("_at_replica", "_primary", "_replica", "_session")

    def __init__(self, replica: "Replica", at_replica: "Callable[[str], Session]", primary: "Session") -> None:
        """`at_replica` makes a session there which begins with the SQL that it is given."""
        self._replica, self._at_replica, self._primary = replica, at_replica, primary
        self._session: Session | None = None

    async def __aenter__(self) -> Connection:
        connection = await self._enter_replica()
        REPLICA_READS.add("primary" if connection is None else "replica")
        if connection is None:
            return await self._enter_primary()
        return _Movable(connection, self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is None:  # it did not get into the primary
            return
        try:
            await session.__aexit__(kind, error, traceback)
        except DatabaseUnavailable as failure:
            if session is self._primary or error is not None:
                raise
            # What was read is here; only the end of the transaction is not.
            self._replica.failed(failure)

    async def move(self, connection: Connection, error: BaseException) -> Connection | None:
        """To the primary, if the replica is why a statement failed; None if it is not."""
        meaning, session = domain_error(error), self._session
        hopeless = not isinstance(meaning, DatabaseUnavailable) or isinstance(meaning, StatementTooLong)
        if session is None or session is self._primary or hopeless:
            return None
        if connection.driver.is_closed():
            self._replica.failed(error)
        self._session = None
        with suppress(DatabaseUnavailable, asyncpg.PostgresError):
            await session.__aexit__(type(error), error, error.__traceback__)
        return await self._enter_primary()

    async def _enter_replica(self) -> Connection | None:
        first = await self._replica.waits_for()
        if first is None:
            return None
        session = self._at_replica(first)
        try:
            connection = await session.__aenter__()
        except (AuthenticationError, DatabaseBusy) as error:
            if isinstance(error, AuthenticationError):
                raise  # it knows what the primary knows
            return None
        except Exception as error:  # noqa: BLE001 - whatever the replica lacks, the primary may have
            self._replica.failed(error)
            return None
        self._replica.served()
        self._session = session
        return connection

    async def _enter_primary(self) -> Connection:
        connection = await self._primary.__aenter__()
        self._session = self._primary
        return connection


class _Movable(Connection):
    """A connection to the replica that becomes one to the primary."""

    __slots__ = ("_at", "_reading")

    def __init__(self, at: Connection, reading: Reading) -> None:
        super().__init__(at.driver, at.texts)
        self._at, self._reading = at, reading

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        try:
            return await self._at.fetch(sql, arguments)
        except Exception as error:
            moved = await self._reading.move(self._at, error)
            if moved is None:
                raise
        self._at, self.driver = moved, moved.driver
        return await moved.fetch(sql, arguments)
