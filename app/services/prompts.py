"""What a user sends, and what became of it at first."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.cache.control import AS_THE_TENANT_WANTS, NOT_AT_ALL, CacheControl, CacheState
from app.core.errors import NeedsStoring, provider_failure
from app.core.items import NO_OPTIONS, Item, Message, Options
from app.documents.asked import Asked
from app.messages.contents import Request, output_of
from app.messages.generation import Generation
from app.models import MessageStatus
from app.models.rows import MessageRow

Api = Literal["messages", "chat", "responses", "anthropic"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user sends. `streams`: the answer may be followed piece by piece; `background`: nobody waits for it.

    `content` is the text of the last words of the user, which lists show and searches find. `items` is all that is
    said; (): `content` alone. What was said before is known by `conversation_id`, or by `previous_id`: the message that
    this one goes on with. `model` is a public name; "": the caller's default. Not `stored`: no text is kept anywhere.
    """

    content: str
    conversation_id: str | None = None
    webhook_url: str | None = None
    streams: bool = False
    background: bool = False
    cache: CacheControl = AS_THE_TENANT_WANTS
    documents: Asked | None = None
    """Where to look for passages to answer from; None: nowhere."""
    items: tuple[Item, ...] = ()
    options: Options = NO_OPTIONS
    model: str = ""
    api: Api = "messages"
    stored: bool = True
    asks_to_be_stored: bool = False
    """By name, and not because nothing was said."""
    metadata: dict[str, str] | None = None
    previous_id: str | None = None
    instructions: str = ""
    """They open this call, and are not said again in those that go on with it."""
    extra: dict[str, Any] | None = None
    """What the interface wants back of its request: JSON that nobody else reads."""

    def require_storing(self, *, by_tenant: bool = False) -> None:
        """What comes back to a message later needs that it is there; raises `NeedsStoring` of one that is not."""
        later = {
            "background": self.background,
            "conversation": self.conversation_id,
            "webhook_url": self.webhook_url,
            "documents": self.documents,
        }
        if by_tenant:
            later |= {"previous_response_id": self.previous_id, "store": self.asks_to_be_stored}
        for what, wanted in later.items():
            if wanted:
                raise NeedsStoring(what, by_tenant=by_tenant)

    def unkept(self) -> "Prompt":
        """As a tenant sends it that keeps nothing; raises `NeedsStoring`."""
        self.require_storing(by_tenant=True)
        return replace(self, stored=False)

    @property
    def goes_on(self) -> bool:
        """Whether something was said before."""
        return self.conversation_id is not None or self.previous_id is not None

    @property
    def caching(self) -> CacheControl:
        return self.cache if self.stored else NOT_AT_ALL

    @property
    def request(self) -> Request:
        items = self.items or (Message("user", self.content),)
        return Request(items, self.options, self.instructions, self.extra or {})

    def stored_further(self) -> dict[str, Any] | None:
        """The columns of what is more than a text of `POST /messages`; None: it is nothing more."""
        kept = self.request.stored(self.content) if self.stored else None
        further: dict[str, Any] = {
            "api": None if self.api == "messages" else self.api,
            "asked_model": self.model or None,
            "metadata": self.metadata if self.stored else None,
            "previous_id": self.previous_id,
            "has_contents": None if kept is None else True,
        }
        if self.stored and not any(further.values()):
            return None
        return {**further, "stored": self.stored, "request": kept}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a message ended, and all that was said: also of one that is not stored."""

    row: MessageRow
    output: tuple[Item, ...]


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

    async def outcome(self) -> Outcome:
        """Wait for the end; raises `ProviderError` if the message failed: it is kept, and the error names it."""
        row, error = self.row, None
        if self.generation is not None:
            ended = await asyncio.shield(self.generation.ended)
            row, error = ended or row, self.generation.error
        if error is None and row.status == MessageStatus.FAILED:
            error = provider_failure(row.error_code, row.id)
        if error is not None:
            raise error
        return Outcome(row, output_of(row) if self.generation is None else self.generation.output)
