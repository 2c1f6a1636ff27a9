"""What an answer says, in whichever dialect: its text, what it counted, and why it ended."""

from dataclasses import replace
from typing import Any

import structlog

from app.core.completion import Completion, FinishReason
from app.core.errors import EmptyAnswer, ProviderError, ProviderRejected
from app.core.items import ToolCall
from app.llm.output import Output

_WORDS = {
    FinishReason.STOP: "stop stop_sequence stop_token end_turn eos eos_token complete completed",
    FinishReason.LENGTH: "length max_tokens max_output_tokens model_length model_context_window_exceeded",
    FinishReason.CONTENT_FILTER: "content_filter content_filtered refusal safety recitation sensitive",
    FinishReason.TOOL_CALLS: "tool_calls tool_call tool_use function_call",
    FinishReason.ERROR: "error abort aborted failed network_error insufficient_system_resource",
}
_REASONS = {word: reason for reason, words in _WORDS.items() for word in words.split()}
TEXTS = ("text", "output_text")
"""Kinds of parts; the others are thoughts and what no reader asked for."""

logger = structlog.get_logger()


def completed(provider: str, output: Output, said: object, counts: Completion) -> Completion:
    """An answer that has ended; `said` is the provider's word for why.

    Raises:
        ProviderError: it is none.
    """
    reason = reason_of(said)
    items = output.end(cut=reason is FinishReason.LENGTH)
    text = output.text
    if output.calls and reason in (None, FinishReason.STOP, FinishReason.OTHER):
        reason = FinishReason.TOOL_CALLS
    elif reason is FinishReason.TOOL_CALLS and text and not output.calls:
        reason = FinishReason.STOP
    return finished(provider, replace(counts, text=text, finish_reason=reason, items=items))


def finished(provider: str, answer: Completion) -> Completion:
    """The answer, if it is one.

    Raises:
        ProviderRejected: a filter took the rest of it.
        EmptyAnswer: it holds no text, and calls no tool.
        ProviderError: the provider itself says that it failed.
    """
    error: ProviderError
    if answer.finish_reason == FinishReason.CONTENT_FILTER:
        error = ProviderRejected()
    elif answer.finish_reason == FinishReason.ERROR:
        error = ProviderError()
    elif answer.text or any(isinstance(item, ToolCall) for item in answer.items):
        return answer
    else:
        error = EmptyAnswer()
    error.answer = answer
    logger.warning("provider_answer_failed", provider=provider, code=error.code, finish_reason=answer.finish_reason)
    raise error


def reason_of(value: object) -> FinishReason | None:
    """Why an answer ended, by the provider's word for it; None if it did not say."""
    if not isinstance(value, str) or not value:
        return None
    return _REASONS.get(value.lower(), FinishReason.OTHER)


def text_of(value: object) -> str:
    """The text of an answer, or of a piece of it: a string, none, a part, or a list of parts of which some are text."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        return text_of(value.get("text")) if value.get("type", "text") in TEXTS else ""
    if not isinstance(value, str):
        raise TypeError("no text in the answer")
    return value


def fields_of(value: object) -> dict[str, Any]:
    """An object of an answer; an empty one for what is none: what it would say is then unknown."""
    return value if isinstance(value, dict) else {}


def counted(*values: object) -> int | None:
    """The first number of tokens among what a provider says, or None."""
    for value in values:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # noqa: PLW2901
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
    return None


def cached_of(cached: int | None, read: int | None) -> int | None:
    """Tokens from the cache are some of those that were read."""
    return None if cached is None or read is None else min(cached, read)


def named(value: object, default: str) -> str:
    """A model's name as a provider says it, or ours for what is none."""
    return value if isinstance(value, str) and 0 < len(value) <= 255 else default
