"""What a user sends, and what became of it at first."""

from dataclasses import dataclass

from app.cache.control import AS_THE_TENANT_WANTS, CacheControl, CacheState
from app.messages.generation import Generation
from app.models.rows import MessageRow


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user sends. `streams`: the answer may be followed piece by piece; `background`: nobody waits for it."""

    content: str
    conversation_id: str | None = None
    webhook_url: str | None = None
    streams: bool = False
    background: bool = False
    cache: CacheControl = AS_THE_TENANT_WANTS


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it was reserved, with its run; or, without one, as it is.

    It was answered from the cache, or its idempotency key made it before. `cache`: None where there is no cache;
    `age`: of an answer that was kept, in seconds.
    """

    row: MessageRow
    generation: Generation | None
    cache: CacheState | None = None
    age: int = 0
