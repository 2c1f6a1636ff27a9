"""The objects that live as long as the process: made at start-up, closed at shutdown."""

from dataclasses import dataclass
from datetime import timedelta

from app.core.config import Settings
from app.core.rate_limits.limiter import RateLimiter
from app.core.security import PasswordHasher, TokenService
from app.db.session import Database
from app.llm.factory import create_provider
from app.schemas.message import MessageRead
from app.services.llm_service import LLMService
from app.services.message_engine import MessageEngine
from app.services.message_signals import MessageSignals
from app.services.pricing import PriceTable
from app.services.webhook_service import WebhookService


@dataclass(frozen=True, slots=True)
class Container:
    database: Database
    passwords: PasswordHasher
    tokens: TokenService
    llm: LLMService
    engine: MessageEngine
    signals: MessageSignals
    webhooks: WebhookService
    context_tokens: int
    limits: RateLimiter

    @classmethod
    def create(cls, settings: Settings, database_url: str) -> "Container":
        database = Database(
            database_url, settings.db_pool_size, settings.db_max_overflow, settings.db_statement_cache_size
        )
        signing_key = settings.signing_key()
        llm = LLMService(create_provider(settings), PriceTable(settings.llm_prices), settings.llm_max_output_tokens)
        lease = timedelta(seconds=settings.message_lease_seconds)
        engine = MessageEngine(database, llm, lease, settings.llm_max_running_per_tenant)
        return cls(
            database,
            PasswordHasher(settings.bcrypt_rounds),
            TokenService(signing_key, settings.jwt_algorithm, settings.access_token_expire_minutes),
            llm,
            engine,
            MessageSignals(database_url, engine),
            WebhookService(database, signing_key, settings.webhook_allowed_networks, _webhook_body),
            settings.llm_context_tokens,
            RateLimiter(settings),
        )

    async def open(self) -> None:
        await self.limits.open()

    async def close(self) -> None:
        await self.webhooks.close()
        await self.llm.close()
        self.passwords.close()
        await self.database.close()
        await self.limits.close()


def _webhook_body(message: object) -> dict[str, object]:
    return MessageRead.model_validate(message).model_dump(mode="json")
