"""What a user sends, and what became of it at first."""

import asyncio
from dataclasses import dataclass

from app.cache.control import AS_THE_TENANT_WANTS, CacheControl, CacheState
from app.core.errors import provider_failure
from app.documents.asked import Asked
from app.messages.generation import Generation
from app.models import MessageStatus
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
    documents: Asked | None = None
    """Where to look for passages to answer from; None: nowhere."""


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

    async def outcome(self) -> MessageRow:
        """Wait for the end; raises `ProviderError` if the message failed: it is kept, and the error names it."""
        row, error = self.row, None
        if self.generation is not None:
            ended = await asyncio.shield(self.generation.ended)
            row, error = ended or row, self.generation.error
        if error is None and row.status == MessageStatus.FAILED:
            error = provider_failure(row.error_code, row.id)
        if error is not None:
            raise error
        return row
