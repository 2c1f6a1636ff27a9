"""The objects that live as long as the process: made at start-up, closed at shutdown."""

from dataclasses import dataclass
from datetime import timedelta

from app.core.config import Settings
from app.core.security import PasswordHasher, TokenService
from app.db.session import Database
from app.llm.factory import create_provider
from app.services.llm_service import LLMService


@dataclass(frozen=True, slots=True)
class Container:
    database: Database
    passwords: PasswordHasher
    tokens: TokenService
    llm: LLMService
    lease: timedelta

    @classmethod
    def create(cls, settings: Settings, database_url: str) -> "Container":
        return cls(
            Database(database_url, settings.db_pool_size, settings.db_max_overflow, settings.db_statement_cache_size),
            PasswordHasher(settings.bcrypt_rounds),
            TokenService(settings.signing_key(), settings.jwt_algorithm, settings.access_token_expire_minutes),
            LLMService(create_provider(settings), settings.llm_timeout_seconds),
            timedelta(seconds=settings.message_lease_seconds),
        )

    async def close(self) -> None:
        await self.llm.close()
        self.passwords.close()
        await self.database.close()
