"""Whether this process can serve a request."""

from typing import TYPE_CHECKING, Literal

from app.core.errors import BackgroundWorkFailing
from app.core.rate_limits.limiter import RateLimiter
from app.core.supervision import State, Supervisor
from app.db.session import Database
from app.services.llm_service import LLMService

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


class HealthService:
    def __init__(
        self,
        database: Database,
        llm: LLMService,
        limits: RateLimiter,
        background: Supervisor,
        cache: "ResponseCache | None",
    ) -> None:
        self._cache = cache
        self._database = database
        self._llm = llm
        self._limits = limits
        self._background = background

    async def ready(self) -> str:
        """The name of the LLM provider, once a guarded transaction could write.

        Raises:
            DatabaseUnavailable
            BackgroundWorkFailing: a loop dies again and again.
        """
        await self._database.check()
        if dying := self._background.dying():
            raise BackgroundWorkFailing(dying)
        return self._llm.provider_name

    @property
    def background(self) -> dict[str, State]:
        """Of each background loop of the process by its name."""
        return self._background.states()

    @property
    def replica(self) -> Literal["none", "ok", "behind", "away", "promoted"]:
        """Unless it is `ok` the primary serves all reads."""
        return "none" if self._database.replica is None else self._database.replica.state

    @property
    def rate_limits(self) -> Literal["off", "memory", "redis"]:
        """Where requests are counted right now."""
        return self._limits.store

    @property
    def cache(self) -> Literal["off", "redis", "away"]:
        """Whether answers are found and kept right now, for tenants that want it."""
        if self._cache is None:
            return "off"
        return "redis" if self._cache.store.available else "away"
