"""What a provider is: one method. A new one is a file beside this and a line in `app/llm/factory.py`.

What wraps a provider (a deadline, a circuit breaker, a fallback) is a provider too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.core.completion import Completion

MAX_BYTES = 16 * 2**20
BYTES_PER_TOKEN = 1024
"""A streamed token travels in a chunk of some 300 bytes."""
LONGEST_WAIT_SECONDS = 5.0

OnText = Callable[[str], None]
"""Takes the next piece of an answer, as soon as the provider sent it. It never waits.

An empty piece says that an event came without text: the provider is at work, and perhaps thinks.
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, oldest first; a system turn only stands at the start."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class CallLimits:
    """`call_seconds` bounds a call that streams nothing, with its retries; `silence_seconds` the wait for each part.

    A Retry-After above `longest_wait` is the caller's to wait for, or a fallback's to make needless.
    """

    call_seconds: float
    silence_seconds: float
    retries: int
    output_tokens: int
    longest_wait: float = LONGEST_WAIT_SECONDS

    @property
    def bytes(self) -> int:
        """That an answer may take."""
        return max(MAX_BYTES, self.output_tokens * BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider is asked, and for which tenant. With `on_text` the answer comes piece by piece."""

    turns: Sequence[Turn]
    on_text: OnText | None = None
    tenant_id: str = ""


class LLMProvider(Protocol):
    name: str
    models: tuple[str, ...]
    """The models that may answer: one, or those of a fallback chain in order."""

    async def complete(self, call: Call) -> Completion:
        """Answer the call; the pieces given to its `on_text`, joined, are the completion's text.

        Cancelling the call ends it at the provider too.

        Raises:
            ProviderError: whatever went wrong, without the provider's words: they may quote the key or the prompt.
        """
        ...

    async def close(self) -> None: ...


class Wrapper:
    """A provider around another one: what it does not change is the inner one's."""

    def __init__(self, provider: LLMProvider) -> None:
        self.inner = provider
        self.name = provider.name
        self.models = provider.models

    async def complete(self, call: Call) -> Completion:
        return await self.inner.complete(call)

    async def close(self) -> None:
        await self.inner.close()
