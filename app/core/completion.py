"""What a provider's call came to."""

from dataclasses import dataclass
from enum import StrEnum

from app.core.items import Item, Message


class FinishReason(StrEnum):
    """Why a provider stopped writing, in one set of words for all of them."""

    STOP = "stop"
    LENGTH = "length"
    """No room was left: the answer is cut."""
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    ERROR = "error"
    """The provider's own failure, in the middle of its answer."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's answer and what it says that it counted, in tokens (None: it did not say).

    `cached_tokens` are those of `input_tokens` that the provider had in its cache, `cache_write_tokens` those that it
    put there, `reasoning_tokens` those of `output_tokens` that nobody reads. `items`: all that it said, where that is
    more than its `text`.
    """

    text: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: FinishReason | None = None
    cached: bool = False
    """It was kept of an earlier call, and nobody was asked for it."""
    reasoning_tokens: int | None = None
    items: tuple[Item, ...] = ()
    cache_write_tokens: int | None = None

    @property
    def output(self) -> tuple[Item, ...]:
        return self.items or (Message("assistant", self.text),)
