"""What a failure of the database means: to the domain, and to whoever would try the same again."""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from app.core.errors import AppError, DatabaseUnavailable, StatementTooLong
from app.db import rls

READ_ONLY = "25006"
FOREIGN_KEY_VIOLATION = "23503"
MEANINGS: dict[str, type[AppError]] = {**rls.ERRORS, "57014": StatementTooLong}
# By class or by code: connection failure, a read-only server (a failover, a full disk), a password or a login that is
# being replaced, a database that is being restored, transaction rollback (a deadlock: the same again succeeds),
# insufficient resources (disk, memory, connections), a lock that did not come, operator intervention, system error.
UNAVAILABLE = ("08", READ_ONLY, "28", "3D000", "40", "53", "55P03", "57", "58")
# Data that does not fit, and constraints: the same statement fails for ever.
HOPELESS = ("22", "23")


def state_of(error: BaseException) -> str:
    """The SQLSTATE of the driver's error, as it is or as SQLAlchemy wraps it, or an empty string."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def domain_error(error: BaseException) -> BaseException:
    """What a database failure means to the domain; any other error is returned as it is."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, (DBAPIError, asyncpg.PostgresError)):
        state = state_of(error)
        if state in MEANINGS:
            return MEANINGS[state]()
        if state.startswith(UNAVAILABLE):
            return DatabaseUnavailable()
    if isinstance(error, DBAPIError) and (error.connection_invalidated or _has_stale_plan(error)):
        return DatabaseUnavailable()
    if isinstance(error, (OSError, NoConnectionFree, asyncpg.InterfaceError)):
        return DatabaseUnavailable()
    return error


def may_pass(error: Exception) -> bool:
    """Whether the same transaction may succeed later. What nobody foresaw may: a migration ends, a grant is given."""
    if isinstance(error, AppError):
        return isinstance(error, DatabaseUnavailable)
    if isinstance(error, DBAPIError):
        # The driver refuses a value that it cannot encode with a ValueError.
        return not state_of(error).startswith(HOPELESS) and not isinstance(_driver_error(error), ValueError)
    return not state_of(error).startswith(HOPELESS)


def reason_of(error: BaseException) -> str:
    """For the log: the kind of the failure below and its SQLSTATE. The message is left out, it may quote a row."""
    cause = error.__cause__ if isinstance(error, AppError) and error.__cause__ is not None else error
    driver = _driver_error(cause) if isinstance(cause, DBAPIError) else None
    return f"{type(driver or cause).__name__} {state_of(cause)}".strip()


def _driver_error(error: DBAPIError) -> BaseException | None:
    """The driver's own error, which SQLAlchemy wraps twice."""
    return error.orig.__cause__ if error.orig is not None else None


def _has_stale_plan(error: DBAPIError) -> bool:
    """A table changed under a prepared statement. SQLAlchemy has forgotten all of them by now."""
    stale = (asyncpg.exceptions.InvalidCachedStatementError, asyncpg.exceptions.OutdatedSchemaCacheError)
    return isinstance(_driver_error(error), stale)
