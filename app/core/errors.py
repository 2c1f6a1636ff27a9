"""What can go wrong, in the words of the domain. `app/api/statuses.py` alone knows the statuses.

AppError
├── AuthenticationError     InvalidCredentials, InvalidRefreshToken, OperatorTokenRequired
├── PermissionDenied        InsufficientScope, SessionRequired, FreshLoginRequired, RegistrationClosed, InviteRequired,
│                           WrongPassword, CookieRefused
├── NotFound                TenantNotFound, ModelNotFound, PreviousNotFound
├── Conflict                TenantNameTaken, EmailTaken, LastAdmin, NameNotConfirmed, TooManyApiKeys, TooManyInvites,
│                           TooManyConversations, MessageRunning, MessageEnded, ConversationBusy,
│                           IdempotencyKeyInFlight, ModelWithoutPrice, DocumentQuotaUsedUp, DocumentNotRead,
│                           ToolResultsMissing, NotStored, ItemStays
├── DocumentsOff, ProviderKeysOff, SearchEncrypted
├── TextUnreadable
├── UntrustedHost, InvalidHost, UnsupportedMediaType, InvalidRequest
├── InvalidImage, InvalidCursor, NothingToSearchFor, TimeIsPast, InvalidPosition, InvalidWebhookUrl, UnknownRegion,
│   InvalidEventWebhookUrl, IdempotencyKeyReused, InvalidBaseUrl, ProviderKeyRefused, ToolResultsUnasked,
│   NeedsStoring, UnsupportedByModel, UnknownModel, NothingKept, MoreThanTokenLimit
├── ProviderNotReached
├── BudgetExceeded
├── TooManyRunning, TooManyStreams, TooManyUploads, TooManyLargeRequests
├── RateLimited             TokensUsedUp
├── Overloaded              ShuttingDown
├── BackgroundWorkFailing
├── DatabaseUnavailable     DatabaseBusy, StatementTooLong, IsolationUnavailable, TenantMoving,
│                           TextKeysUnavailable
└── ProviderError           ProviderRejected, ProviderUnavailable, ProviderTimeout, ProviderKeyUnusable, EmptyAnswer,
                            OutputMalformed, OutputMismatch, MessageInterrupted, MessageNotStarted, PreviousGone
"""

from collections.abc import Sequence

from app.core.budget_errors import BudgetExceeded
from app.core.database_errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    IsolationUnavailable,
    StatementTooLong,
    TenantMoving,
    TextKeysUnavailable,
)
from app.core.error_base import AppError, Conflict, NotFound
from app.core.limit_errors import MoreThanTokenLimit, RateLimited, TokensUsedUp
from app.core.message_errors import (
    ConversationBusy,
    IdempotencyKeyInFlight,
    ItemStays,
    MessageEnded,
    MessageRunning,
    NotStored,
    PreviousNotFound,
    SearchEncrypted,
    TextUnreadable,
    ToolResultsMissing,
)
from app.core.provider_errors import (
    EmptyAnswer,
    MessageInterrupted,
    MessageNotStarted,
    OutputMalformed,
    OutputMismatch,
    PreviousGone,
    ProviderError,
    ProviderKeyUnusable,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    provider_failure,
)
from app.core.request_errors import (
    IdempotencyKeyReused,
    InvalidBaseUrl,
    InvalidCursor,
    InvalidEventWebhookUrl,
    InvalidHost,
    InvalidImage,
    InvalidPosition,
    InvalidRequest,
    InvalidWebhookUrl,
    NeedsStoring,
    NothingKept,
    NothingToSearchFor,
    ProviderKeyRefused,
    ProviderNotReached,
    TimeIsPast,
    ToolResultsUnasked,
    UnknownRegion,
    UnsupportedMediaType,
    UntrustedHost,
)

# What this tree has from its other files; its own are importable as ever.
__all__ = [
    "AppError",
    "BudgetExceeded",
    "Conflict",
    "ConversationBusy",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "EmptyAnswer",
    "IdempotencyKeyInFlight",
    "IdempotencyKeyReused",
    "InvalidBaseUrl",
    "InvalidCursor",
    "InvalidEventWebhookUrl",
    "InvalidHost",
    "InvalidImage",
    "InvalidPosition",
    "InvalidRequest",
    "InvalidWebhookUrl",
    "IsolationUnavailable",
    "ItemStays",
    "MessageEnded",
    "MessageInterrupted",
    "MessageNotStarted",
    "MessageRunning",
    "MoreThanTokenLimit",
    "NeedsStoring",
    "NotFound",
    "NotStored",
    "NothingKept",
    "NothingToSearchFor",
    "OutputMalformed",
    "OutputMismatch",
    "PreviousGone",
    "PreviousNotFound",
    "ProviderError",
    "ProviderKeyRefused",
    "ProviderKeyUnusable",
    "ProviderNotReached",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnavailable",
    "RateLimited",
    "SearchEncrypted",
    "StatementTooLong",
    "TenantMoving",
    "TextKeysUnavailable",
    "TextUnreadable",
    "TimeIsPast",
    "TokensUsedUp",
    "ToolResultsMissing",
    "ToolResultsUnasked",
    "UnknownRegion",
    "UnsupportedMediaType",
    "UntrustedHost",
    "provider_failure",
]


class AuthenticationError(AppError):
    detail = "The access token is missing, invalid, expired or revoked."


class InvalidCredentials(AuthenticationError):
    detail = "Email or password is wrong."


class InvalidRefreshToken(AuthenticationError):
    detail = "The refresh token is invalid, expired, revoked or used before. Log in again."


class OperatorTokenRequired(AuthenticationError):
    detail = "Only the operator of this service creates tenants, with its operator token."


class PermissionDenied(AppError):
    detail = "Your role does not allow this."


class InsufficientScope(PermissionDenied):
    detail = "The API key does not have the scope for this."


class SessionRequired(PermissionDenied):
    detail = "An API key cannot do this: log in."


class FreshLoginRequired(PermissionDenied):
    detail = "This needs a password that was given a short while ago: log in again."


class CookieRefused(PermissionDenied):
    detail = (
        "A session in a cookie is for this service's own pages, opened by https or on localhost: the browser did not"
        " send Sec-Fetch-Site: same-origin."
    )


class RegistrationClosed(PermissionDenied):
    detail = "This tenant is closed for registration."


class InviteRequired(PermissionDenied):
    detail = "This tenant is joined by invite, and the invite is missing, for another email, used or expired."


class WrongPassword(PermissionDenied):
    detail = "The current password is wrong."


class TenantNotFound(NotFound):
    detail = "There is no such tenant."


class ModelNotFound(NotFound):
    """The same for one that is not there and for one that the caller may not use."""

    detail = "There is no such model for you: GET /models lists those that you may use."


class UnsupportedByModel(AppError):
    detail = "The model cannot do what is asked of it."


class UnknownModel(AppError):
    detail = "There is no model of this name: GET /models lists them."


class DocumentsOff(AppError):
    detail = "This service keeps no documents: its operator has set no embedder."


class ProviderKeysOff(AppError):
    detail = "This service keeps no provider keys of tenants: its operator has set no MASTER_KEY."


class TenantNameTaken(Conflict):
    detail = "A tenant with this name exists."


class EmailTaken(Conflict):
    detail = "A user with this email exists."


class TooManyApiKeys(Conflict):
    detail = "You have as many API keys as a user may have. Revoke one first."


class TooManyConversations(Conflict):
    detail = "You have as many conversations as a user may have. Delete some first."


class TooManyInvites(Conflict):
    detail = "The tenant has as many open invites as it may have. Take some back, or wait until they expire."


class LastAdmin(Conflict):
    detail = "The tenant's last admin cannot be removed, disabled or demoted."


class NameNotConfirmed(Conflict):
    detail = "The name does not confirm what is about to be erased."


class ModelWithoutPrice(Conflict):
    detail = "A budget is set, and a configured model has no price: the operator must add it to LLM_PRICES."


class DocumentQuotaUsedUp(Conflict):
    def __init__(self, what: str) -> None:
        super().__init__(f"The tenant's quota of {what} is used up.")


class DocumentNotRead(Conflict):
    detail = "The document's text has not been read yet, or could not be: its status says which."


class TooManyRunning(AppError):
    detail = "Too many messages of this tenant are being answered at once. Try again in a moment."


class TooManyStreams(AppError):
    detail = "Too many streams of this user are open. Close one first."


class TooManyUploads(AppError):
    detail = "Too many files of this tenant are on their way in. Try again in a moment."


class TooManyLargeRequests(AppError):
    detail = "Large requests of this tenant are being answered, as many as may be at once. Try again in a moment."


class Overloaded(AppError):
    detail = "Too many requests of this kind are waiting. Try again in a moment."


class ShuttingDown(Overloaded):
    detail = "This server is shutting down. Try again: another one answers."


class BackgroundWorkFailing(AppError):
    """Background loops of this process, by their names, die again and again."""

    def __init__(self, loops: Sequence[str]) -> None:
        super().__init__(f"Background work of this process keeps failing: {', '.join(loops)}.")
