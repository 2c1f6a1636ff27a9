"""What can be wrong with a request; `app/core/errors.py` has the whole tree."""

from app.core.error_base import AppError


class UntrustedHost(AppError):
    detail = "The Host header does not name this service."


class InvalidHost(AppError):
    detail = "A request must have one Host header."


class UnsupportedMediaType(AppError):
    detail = "The body must be JSON in UTF-8, with the Content-Type application/json and without a Content-Encoding."


class InvalidRequest(AppError):
    """Of another protocol than ours; `param` names what is wrong as that one does: `messages[2].role`."""

    detail = "The request is not valid."

    def __init__(self, detail: str | None = None, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(detail)
        self.param = param
        self.code = code


class InvalidImage(AppError):
    detail = "The image is not valid."


class InvalidCursor(AppError):
    detail = "The cursor is not one that a Link header of this list gave."


class NothingToSearchFor(AppError):
    detail = "In each of its alternatives a search needs a word to find; two letters before a *; at most 32 terms."


class TimeIsPast(AppError):
    detail = "The time must lie in the future."


class InvalidPosition(AppError):
    detail = "Last-Event-ID is not the id of an event of this stream."


class InvalidWebhookUrl(AppError):
    detail = "The webhook URL must be http or https and lead to a public address."


class InvalidEventWebhookUrl(InvalidWebhookUrl):
    """As of a message, for the tenant's own."""


class UnknownRegion(AppError):
    detail = "This service has no such region."


class InvalidBaseUrl(AppError):
    detail = "The base URL must be http or https, without a query, and lead to a public address."


class ProviderKeyRefused(AppError):
    detail = "The provider does not accept this key. Nothing was stored."


class ProviderNotReached(AppError):
    detail = "The provider did not say whether it accepts the key. Nothing was stored; test=false stores it unasked."


class IdempotencyKeyReused(AppError):
    detail = "This Idempotency-Key was used with another request."


class ToolResultsUnasked(AppError):
    detail = "A tool result answers no call that waits for one: its call_id must be one of the last message's calls."


class NothingKept(AppError):
    detail = "This tenant keeps nothing (its message_retention_days is 0): it has no conversations."


class NeedsStoring(AppError):
    def __init__(self, what: str, *, by_tenant: bool = False) -> None:
        why = "This tenant keeps nothing (its message_retention_days is 0): a message" if by_tenant else "A message"
        super().__init__(f"{why} that is not stored cannot have {what}.")
