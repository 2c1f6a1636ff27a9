"""Whether this process can serve a request."""

from app.db.session import Database
from app.services.llm_service import LLMService


class HealthService:
    def __init__(self, database: Database, llm: LLMService) -> None:
        self._database = database
        self._llm = llm

    async def ready(self) -> str:
        """The name of the LLM provider, once a guarded transaction was opened; raises `DatabaseUnavailable`."""
        await self._database.check()
        return self._llm.provider_name
