"""Whether this process can serve a request."""

from typing import Literal

from app.core.rate_limits.limiter import RateLimiter
from app.db.session import Database
from app.services.llm_service import LLMService


class HealthService:
    def __init__(self, database: Database, llm: LLMService, limits: RateLimiter) -> None:
        self._database = database
        self._llm = llm
        self._limits = limits

    async def ready(self) -> str:
        """The name of the LLM provider, once a guarded transaction could write; raises `DatabaseUnavailable`."""
        await self._database.check()
        return self._llm.provider_name

    @property
    def rate_limits(self) -> Literal["off", "memory", "redis"]:
        """Where requests are counted right now."""
        return self._limits.store
