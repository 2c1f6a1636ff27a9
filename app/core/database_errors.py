"""Why the database, or what opens what it holds, does not serve; `app/core/errors.py` has the whole tree."""

from app.core.error_base import AppError


class DatabaseUnavailable(AppError):
    detail = "The database is not available. Try again in a moment."


class DatabaseBusy(DatabaseUnavailable):
    detail = "Too many requests of this tenant are waiting for the database. Try again in a moment."


class StatementTooLong(DatabaseUnavailable):
    detail = "The request took the database longer than a request may, and was stopped. Narrow it, or try again."


class TenantMoving(DatabaseUnavailable):
    detail = "The tenant is being moved to another region. Try again in a moment."


class TextKeysUnavailable(DatabaseUnavailable):
    detail = "Texts are stored encrypted here, and the keys are away. Try again in a moment."


class IsolationUnavailable(DatabaseUnavailable):
    """Row-level security does not hold on this connection; serving it could leak."""
