"""How long a transaction waits for its connection, and how long it takes."""

from time import perf_counter
from typing import TYPE_CHECKING

from app.core.errors import AppError, DatabaseBusy, DatabaseUnavailable, StatementTooLong
from app.observability import tracing
from app.observability.instruments import (
    DATABASE_UNAVAILABLE,
    GATE_REFUSALS,
    POOL_WAIT_SECONDS,
    TRANSACTION_SECONDS,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class TransactionWatch:
    """One transaction, from when it is asked for."""

    __slots__ = ("_begun", "_database", "_span", "_started")

    def __init__(self, database: str) -> None:
        self._database = database
        self._started, self._begun = perf_counter(), 0.0
        # No statement and no literal of one: they name the tenant and the caller.
        attributes = {"db.system.name": "postgresql", "db.operation.name": "transaction", "server.role": database}
        self._span: Span | None = tracing.begin_part("transaction", attributes)

    def begun(self) -> None:
        if self._begun:  # its connection was of no use, and it has another one
            return
        self._begun = perf_counter()
        waited = self._begun - self._started
        POOL_WAIT_SECONDS.observe(waited, self._database)
        if self._span is not None:
            self._span.set_attribute("db.client.connection.wait_time", waited)

    def ended(self, error: BaseException | None) -> None:
        """With the error that its caller gets."""
        if self._begun:
            TRANSACTION_SECONDS.observe(perf_counter() - self._begun, self._database)
        if isinstance(error, DatabaseBusy):
            GATE_REFUSALS.add(self._database)
        elif isinstance(error, DatabaseUnavailable) and not isinstance(error, StatementTooLong):
            DATABASE_UNAVAILABLE.add(self._database)
        if self._span is not None:
            if error is not None and (isinstance(error, DatabaseUnavailable) or not isinstance(error, AppError)):
                tracing.failed(self._span, type(error).__name__)
            self._span.end()


def watched(database: str) -> TransactionWatch | None:
    """None while nobody looks."""
    return TransactionWatch(database) if POOL_WAIT_SECONDS.on or tracing.recorded() else None
