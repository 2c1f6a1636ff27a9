"""What can go wrong with a provider; `app/core/errors.py` has the whole tree."""

from app.core.completion import Completion
from app.core.error_base import AppError


class ProviderError(AppError):
    """The LLM provider failed. `code` is stored with the message; `message_id` names the kept prompt."""

    code = "provider_error"
    detail = "The LLM provider answered with an error. The message is kept as failed."
    message_id: str | None = None
    retry_after: float | None = None
    """Seconds, where the provider said so."""
    transient = False
    """Whether the same may succeed in a moment; nothing of an answer was handed on."""
    unhealthy = False
    """Whether it speaks of the provider, and not of what was asked."""
    accepted = False
    """Whether the provider was at work on it, and will bill what nobody here has seen."""
    answer: Completion | None = None
    """What it wrote and counted all the same."""


class ProviderRejected(ProviderError):
    """The provider refused our request or key: retrying the same will not help."""

    code = "provider_rejected"
    detail = "The LLM provider rejected the request. The message is kept as failed."


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"
    unhealthy = True
    detail = "The LLM provider is unavailable or rate limits us. The message is kept as failed."


class ProviderTimeout(ProviderError):
    code = "provider_timeout"
    unhealthy = True
    detail = "The LLM provider did not answer in time. The message is kept as failed."


class ProviderKeyUnusable(ProviderError):
    """The tenant has a key of its own, and nobody else's is used in its place."""

    code = "provider_key_unusable"
    detail = "The tenant's own key for the LLM provider cannot be opened here: an admin must set it again."


class EmptyAnswer(ProviderError):
    """It was billed, and holds no text: the allowance went into thinking, or into a tool that nobody offered."""

    code = "empty_answer"
    detail = "The LLM provider answered without any text. The message is kept as failed; finish_reason says why."


class OutputMalformed(ProviderError):
    """It was billed, and nobody could read on in it: a piece of a tool call came when the next item had begun."""

    code = "output_malformed"
    detail = "The LLM provider's answer holds too much, or its pieces are out of order. The message is kept as failed."


class OutputMismatch(ProviderError):
    """It was billed. What was asked for again may fit."""

    code = "output_mismatch"
    detail = "The LLM provider's answer is not JSON as the output format wants it. The message is kept as failed."


class MessageInterrupted(ProviderError):
    code = "interrupted"
    detail = "The message was interrupted before its answer was stored. It is kept as failed."


class MessageNotStarted(ProviderError):
    code = "not_started"
    detail = "The message waited too long for a worker. It is kept as failed."


class PreviousGone(ProviderError):
    code = "previous_gone"
    detail = "What the message goes on with was deleted before a worker began it. It is kept as failed."


def provider_failure(code: str | None, message_id: str) -> ProviderError:
    """The error that a failed message was kept with."""
    error = _FAILURES.get(code or "", ProviderError)()
    error.message_id = message_id
    return error


_FAILURES = {
    kind.code: kind
    for kind in (
        ProviderRejected,
        ProviderUnavailable,
        ProviderTimeout,
        ProviderKeyUnusable,
        EmptyAnswer,
        OutputMalformed,
        OutputMismatch,
        MessageInterrupted,
        MessageNotStarted,
        PreviousGone,
    )
}
