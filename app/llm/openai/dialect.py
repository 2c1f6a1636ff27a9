"""What servers of this protocol differ in, and what is learned of it from what they refuse."""

import re
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlsplit

from app.llm.openai.request import HINTS
from app.llm.refusals import speaks_of_unsupported

OPENAI_HOSTS = (".openai.com", ".openai.azure.com")
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the bound of an answer is called, and whether a stream may be asked to count its tokens. A server that names
    what it refuses is asked in the other way.
    """

    limit: str
    counts: bool = True
    renamed: bool = False

    @classmethod
    def of(cls, url: str) -> Self:
        """OpenAI's newer models refuse max_tokens. Of the compatible servers Ollama (2026) silently ignores the new
        name, so that nothing would bound an answer; vLLM and llama.cpp know both.
        """
        modern = f".{urlsplit(url).hostname}".endswith(OPENAI_HOSTS)
        return cls("max_completion_tokens" if modern else "max_tokens")

    def without(self, words: str) -> Self | None:
        """The next one to try, by what the server said; None if it speaks of something else."""
        if self.counts and ("stream_options" in words or "include_usage" in words):
            return replace(self, counts=False)
        if not self.renamed and self.limit in words:
            (other,) = set(LIMIT_NAMES) - {self.limit}
            return replace(self, limit=other, renamed=True)
        return None


def without_hint(asked: dict[str, Any], words: str) -> dict[str, Any] | None:
    """The request without the hints that the server does not know; None if it speaks of something else.

    It is not remembered: what one tenant's request was refused for says nothing of another's.
    """
    if not speaks_of_unsupported(words):
        return None
    named = [name for name in HINTS if name in asked and re.search(rf"\b{name}\b", words)]
    return {name: value for name, value in asked.items() if name not in named} if named else None
