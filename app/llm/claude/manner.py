"""What Anthropic's models differ in, and what is learned of it from what they refuse."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from app.llm.refusals import speaks_of_unsupported

HINTS = ("temperature", "top_p")
_THINKING = re.compile(r"thinking|effort|adaptive|budget_tokens")
_FORMAT = re.compile(r"output_config|output.format|structured output|grammar|schema", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model is told to think: with so much `effort` (those of 2026), with a `budget` of tokens (those before), or
    `never`; whether it takes the schema of an answer, and strict tools.
    """

    thinking: Literal["effort", "budget", "never"] = "effort"
    formats: bool = True
    strict: bool = True

    def without(self, asked: dict[str, Any], words: str) -> Self | None:
        """The next one to try, by what the server said of the request; None if it speaks of something else."""
        config = asked.get("output_config", {})
        if ("thinking" in asked or "effort" in config) and _THINKING.search(words):
            switched_on = asked.get("thinking", {}).get("type") != "disabled"
            return replace(self, thinking="budget" if self.thinking == "effort" and switched_on else "never")
        if self.strict and "strict" in words and any("strict" in tool for tool in asked.get("tools", ())):
            return replace(self, strict=False)
        if "format" in config and _FORMAT.search(words):
            return replace(self, formats=False)
        return None

    def lasting(self, before: Self, words: str) -> Self:
        """What to remember of it: a schema that is too hard for one call says nothing of others."""
        return self if speaks_of_unsupported(words) else replace(self, formats=before.formats)


def without_hint(asked: dict[str, Any], words: str) -> tuple[str, ...]:
    """The hints to leave out of this request: those that the model does not know, or one of two that it takes alone."""
    if all(name in asked for name in HINTS) and "both" in words:
        return ("top_p",)
    if not speaks_of_unsupported(words):
        return ()
    return tuple(name for name in HINTS if name in asked and name in words)
