"""What can go wrong, in the words of the domain. `app/api/errors.py` alone knows the statuses.

AppError
├── AuthenticationError
│   └── InvalidCredentials
├── PermissionDenied
├── NotFound
│   └── TenantNotFound
├── Conflict
│   ├── TenantNameTaken
│   ├── EmailTaken
│   └── MessageRunning
├── InvalidCursor
├── Overloaded
├── DatabaseUnavailable
│   └── IsolationUnavailable
└── ProviderError
    ├── ProviderRejected
    ├── ProviderUnavailable
    ├── ProviderTimeout
    └── MessageInterrupted
"""


class AppError(Exception):
    """Root of the tree. `detail` is shown to the caller, so it never holds input, keys or SQL."""

    detail = "The request could not be served."

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.detail
        super().__init__(self.detail)


class AuthenticationError(AppError):
    detail = "The access token is missing, invalid, expired or revoked."


class InvalidCredentials(AuthenticationError):
    detail = "Email or password is wrong."


class PermissionDenied(AppError):
    detail = "Your role does not allow this."


class NotFound(AppError):
    detail = "There is no such resource."


class TenantNotFound(NotFound):
    detail = "There is no such tenant."


class Conflict(AppError):
    detail = "The request conflicts with what is stored."


class TenantNameTaken(Conflict):
    detail = "A tenant with this name exists."


class EmailTaken(Conflict):
    detail = "A user with this email exists."


class MessageRunning(Conflict):
    detail = "The message is still being answered."


class InvalidCursor(AppError):
    detail = "The cursor is not one that a Link header of this list gave."


class Overloaded(AppError):
    detail = "Too many requests of this kind are waiting. Try again in a moment."


class DatabaseUnavailable(AppError):
    detail = "The database is not available. Try again in a moment."


class IsolationUnavailable(DatabaseUnavailable):
    """Row-level security does not hold on this connection; serving it could leak."""


class ProviderError(AppError):
    """The LLM provider failed. `code` is stored with the message; `message_id` names the kept prompt."""

    code = "provider_error"
    detail = "The LLM provider answered with an error. The message is kept as failed."
    message_id: str | None = None


class ProviderRejected(ProviderError):
    """The provider refused our request or key: retrying the same will not help."""

    code = "provider_rejected"
    detail = "The LLM provider rejected the request. The message is kept as failed."


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"
    detail = "The LLM provider is unavailable or rate limits us. The message is kept as failed."


class ProviderTimeout(ProviderError):
    code = "provider_timeout"
    detail = "The LLM provider did not answer in time. The message is kept as failed."


class MessageInterrupted(ProviderError):
    code = "interrupted"
    detail = "The message was interrupted before its answer was stored. It is kept as failed."
