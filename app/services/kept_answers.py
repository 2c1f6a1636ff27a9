"""The cache, as the messages of one caller use it.

What the tenant wants of it is no trip's errand: a prompt that stands alone is looked up before it is stored, by what
this process remembers of the tenant, and storing says whether that still holds. Else it is looked up afterwards.
"""

from typing import TYPE_CHECKING, Any

from sqlalchemy import TextClause

from app.cache.asking import Asker
from app.cache.control import CacheControl, CacheState
from app.cache.names import shareable
from app.core.principal import Principal
from app.llm.base import Call
from app.messages.generation import Generation
from app.messages.log import storable
from app.messages.storing import storing
from app.models.rows import CachingMessageRow, MessageRow, ReservedMessageRow
from app.observability.instruments import CACHE_REQUESTS, MESSAGES_ENDED
from app.services import response_events
from app.services.model_service import Outdated
from app.services.prompts import Prompt, Sent

if TYPE_CHECKING:
    from app.cache.cache import Lookup, ResponseCache


class KeptAnswers:
    """`cache` None: nothing is ever found, and nothing is asked."""

    def __init__(self, cache: "ResponseCache | None", caller: Principal) -> None:
        self._cache = cache
        self._caller = caller

    async def before(self, call: Call, control: CacheControl) -> "Lookup | None":
        """What is known of a prompt that is about to be stored."""
        caching = self._cache.known(self._caller.tenant_id) if self._cache and control.keeps else None
        if self._cache is None or caching is None or not shareable(call):
            return None
        return await self._cache.look(caching, Asker.of(self._caller), call, control)

    def reserving(
        self, lookup: "Lookup | None", prompt: Prompt, *, once: bool
    ) -> tuple[TextClause, dict[str, Any], type[ReservedMessageRow]]:
        """The statement that stores the prompt, what it needs of an answer that was found, and what it returns."""
        further = prompt.stored_further()
        values: dict[str, Any] = {} if further is None else further
        entry = None if lookup is None else lookup.entry
        statement = storing(
            once=once,
            caches=self._cache is not None,
            answered=entry is not None,
            further=further is not None,
            told=prompt.background and prompt.api == response_events.API,
        )
        if self._cache is None:
            return statement, values, ReservedMessageRow
        if entry is None:
            # For the worker that may run it: it does not know the key that sent it.
            use = prompt.cache.use if prompt.background and "messages:read" in self._caller.scopes else None
            return statement, {**values, "cache_use": use}, CachingMessageRow
        answer = {"response": storable(entry.text), "model": storable(entry.model)[:255]}
        return statement, {**values, **answer}, CachingMessageRow

    def check(self, lookup: "Lookup | None", reserved: MessageRow) -> None:
        """To be called before the message is committed; raises `Outdated`: it is to be sent again, without the look."""
        if self._cache is None or not isinstance(reserved, CachingMessageRow):
            return
        caching = self._cache.learn(self._caller.tenant_id, reserved.caching)
        if lookup is not None and lookup.entry is not None and lookup.caching != caching:
            raise Outdated

    async def after(self, lookup: "Lookup | None", call: Call, control: CacheControl) -> "Lookup | None":
        """As `before`, by what storing said."""
        if self._cache is None or (lookup and lookup.caching == self._cache.known(self._caller.tenant_id)):
            return lookup
        return await self.before(call, control)

    def begun(self, reserved: MessageRow, run: Generation | None, lookup: "Lookup | None") -> Sent:
        """The message that was sent, counted by what the cache had for it."""
        state = self.unasked
        if state is not None and lookup is not None:
            state = lookup.state
        if state is not None:
            CACHE_REQUESTS.add(state)
        if state == "hit" and run is None:
            MESSAGES_ENDED.add(reserved.status, "")
        return Sent(reserved, run, state, lookup.age if lookup else 0)

    @property
    def unasked(self) -> CacheState | None:
        """Of a message that the cache has nothing to do with."""
        return None if self._cache is None else "bypass"
