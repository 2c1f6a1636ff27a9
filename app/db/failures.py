"""What a failure of the database means: to the domain, and to whoever would try the same again."""

import asyncpg
from asyncpg.exceptions import (
    IntegrityConstraintViolationError,
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
)

from app.core.errors import AppError, BudgetExceeded, DatabaseUnavailable, StatementTooLong
from app.db import rls

IntegrityViolation = IntegrityConstraintViolationError
READ_ONLY = "25006"
FOREIGN_KEY_VIOLATION = "23503"
MEANINGS: dict[str, type[AppError]] = {**rls.ERRORS, "57014": StatementTooLong}
# By class or by code: connection failure, a read-only server (a failover, a full disk), a password or a login that is
# being replaced, a database that is being restored, transaction rollback (a deadlock: the same again succeeds),
# insufficient resources (disk, memory, connections), a lock that did not come, operator intervention, system error.
UNAVAILABLE = ("08", READ_ONLY, "28", "3D000", "40", "53", "55P03", "57", "58")
# Data that does not fit, and constraints: the same statement fails for ever.
HOPELESS = ("22", "23")


def state_of(error: BaseException | None) -> str:
    """The SQLSTATE of the driver's error, or an empty string."""
    return getattr(error, "sqlstate", None) or ""


def is_stale(error: BaseException) -> bool:
    """Whether a table or type changed under what a connection has prepared."""
    return isinstance(error, (InvalidCachedStatementError, OutdatedSchemaCacheError))


def violates(error: BaseException, constraint: str) -> bool:
    """Whether it is this constraint, or unique index, that a statement did not keep."""
    return getattr(error, "constraint_name", None) == constraint


def domain_error(error: BaseException) -> BaseException:
    """What a database failure means to the domain; any other error is returned as it is."""
    if isinstance(error, AppError):
        return error
    if is_stale(error):
        return DatabaseUnavailable()
    if isinstance(error, asyncpg.PostgresError):
        state = state_of(error)
        if state in MEANINGS:
            meaning = MEANINGS[state]
            return meaning.told(error.detail) if meaning is BudgetExceeded else meaning()
        return DatabaseUnavailable() if state.startswith(UNAVAILABLE) else error
    # The driver's internal error: the server has ended the connection, and the socket has not said so yet.
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)) and not _is_unfit(error):
        return DatabaseUnavailable()
    return error


def may_pass(error: Exception) -> bool:
    """Whether the same transaction may succeed later. What nobody foresaw may: a migration ends, a grant is given."""
    if isinstance(error, AppError):
        return isinstance(error, DatabaseUnavailable)
    return not state_of(error).startswith(HOPELESS) and not _is_unfit(error)


def reason_of(error: BaseException) -> str:
    """For the log: the kind of the failure below and its SQLSTATE. The message is left out, it may quote a row."""
    cause = error.__cause__ if isinstance(error, AppError) and error.__cause__ is not None else error
    return f"{type(cause).__name__} {state_of(cause)}".strip()


def _is_unfit(error: BaseException) -> bool:
    """A value that the driver cannot encode, or an argument that it does not take."""
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
