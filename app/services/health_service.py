"""Whether this process can serve a request."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from app.core.errors import BackgroundWorkFailing
from app.core.rate_limits.limiter import RateLimiter
from app.core.supervision import State, Supervisor
from app.db.session import Database
from app.services.llm_service import LLMService

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache

SEVERITY: tuple[State, ...] = ("running", "restarting", "failing")


class HealthService:
    """`databases` and `supervisors`: one of each, or one for each region, the first region's first."""

    def __init__(
        self,
        databases: Sequence[Database],
        supervisors: Sequence[Supervisor],
        llm: LLMService,
        limits: RateLimiter,
        cache: "ResponseCache | None",
    ) -> None:
        self._databases = databases
        self._supervisors = supervisors
        self._llm = llm
        self._limits = limits
        self._cache = cache

    async def ready(self) -> str:
        """The name of the LLM provider, once a guarded transaction could write, in some region at least: a region that
        is away must not take the others' tenants out of service.

        Raises:
            DatabaseUnavailable: in every region.
            BackgroundWorkFailing: a loop dies again and again.
        """
        checks = await asyncio.gather(*(database.check() for database in self._databases), return_exceptions=True)
        if all(checks):
            raise next(filter(None, checks))
        if dying := [name for supervisor in self._supervisors for name in supervisor.dying()]:
            raise BackgroundWorkFailing(dying)
        return self._llm.provider_name

    @property
    def background(self) -> dict[str, State]:
        """Of each background loop of the process by its name."""
        states: dict[str, State] = {}
        for supervisor in self._supervisors:
            for name, state in supervisor.states().items():
                states[name] = max(states.get(name, "running"), state, key=SEVERITY.index)
        return states

    @property
    def replica(self) -> Literal["none", "ok", "behind", "away", "promoted"]:
        """Unless it is `ok` the primary serves all reads."""
        replica = self._databases[0].replica  # of several regions none has one
        return "none" if replica is None else replica.state

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
