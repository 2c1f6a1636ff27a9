"""What a provider is: one method. A new one is a file beside this and a line in `app/llm/factory.py`.

What wraps a provider (a deadline, a circuit breaker, a fallback) is a provider too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from app.core.completion import Completion
from app.core.items import AT_WORK, NO_OPTIONS, Delta, Item, Message, Options, TextDelta

MAX_BYTES = 16 * 2**20
BYTES_PER_TOKEN = 1024
"""A streamed token travels in a chunk of some 300 bytes."""
LONGEST_WAIT_SECONDS = 5.0

OnEvent = Callable[[Delta], None]
"""Takes the next piece of an answer, as soon as the provider sent it. It never waits.

`AT_WORK` says that an event came without any: the provider is at work, and perhaps thinks.
"""


@dataclass(frozen=True, slots=True)
class Credential:
    """A tenant's own at an account, in the place of the service's. `base_url` "": where the service asks."""

    api_key: str = field(repr=False)
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """`call_seconds` bounds a call that streams nothing, with its retries; `silence_seconds` the wait for each part.

    A Retry-After above `longest_wait` is the caller's to wait for, or a fallback's to make needless. `networks` are
    those in which a tenant's own address may lie, besides the public ones.
    """

    call_seconds: float
    silence_seconds: float
    retries: int
    output_tokens: int
    longest_wait: float = LONGEST_WAIT_SECONDS
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @property
    def bytes(self) -> int:
        """That an answer may take."""
        return max(MAX_BYTES, self.output_tokens * BYTES_PER_TOKEN)


@dataclass(slots=True)
class Attempt:
    """One upstream that was asked, by its label. `answer`: what it had counted when it failed.

    `accepted`: it failed, and what it was at work on may be charged in full.
    """

    upstream: str
    answer: Completion | None = None
    accepted: bool = False

    @property
    def billed(self) -> bool:
        """Whether it failed at a price."""
        return self.accepted or self.answer is not None


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider is asked, and for which tenant. With `on_event` the answer comes piece by piece.

    `items` are the conversation, oldest first. `model` is a public name; "": the service's default. Of its fallbacks
    those answer that are `allowed`; None: all. `alone`: none of them does. `credential`: the tenant's own, as the
    router found it.

    `attempts` is filled in while it runs, and tells who is at work: the last one.
    """

    items: Sequence[Item]
    on_event: OnEvent | None = None
    tenant_id: str = ""
    model: str = ""
    options: Options = NO_OPTIONS
    credential: Credential | None = None
    allowed: frozenset[str] | None = None
    alone: bool = False
    attempts: list[Attempt] = field(default_factory=list, compare=False, repr=False)

    @property
    def messages(self) -> list[Message]:
        return [item for item in self.items if isinstance(item, Message)]


def event_of(piece: str) -> Delta:
    """A piece of text as an event, an empty one too."""
    return TextDelta(piece) if piece else AT_WORK


class LLMProvider(Protocol):
    name: str
    models: tuple[str, ...]
    """The models that may answer: one, or those of a fallback chain in order."""

    async def complete(self, call: Call) -> Completion:
        """Answer the call; the pieces given to its `on_event`, joined, are the completion's output.

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
