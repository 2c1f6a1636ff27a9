"""Settings from the environment or `.env`, checked once at start-up."""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.rate_limits.policy import one_limit
from app.core.secret_key import load_or_create_secret_key

MIN_SECRET_KEY_BYTES = 32
PLACEHOLDERS = ("change", "replace", "secret", "your-", "example", "placeholder", "<")


RateLimit = Annotated[str, AfterValidator(lambda notation: one_limit(notation) and notation)]
ProviderName = Literal["mock", "openai", "anthropic", "ollama"]


class Price(BaseModel, frozen=True, extra="forbid"):
    """Millionths of a US dollar for a million tokens. `cached`: input from the provider's cache; None: as `input`."""

    input: Annotated[int, Field(ge=0)]
    output: Annotated[int, Field(ge=0)]
    cached: Annotated[int | None, Field(ge=0)] = None


# Make-believe, so that budgets can be tried without a key.
MOCK_PRICES = {"mock-echo": Price(input=1_000_000, output=2_000_000)}


class Settings(BaseSettings):
    """Every knob of the service; `.env.example` and the README's table list the same names."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Path(".data")

    database_url: str = ""
    migration_database_url: str = ""
    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    db_max_overflow: Annotated[int, Field(ge=0, le=1000)] = 0
    db_statement_cache_size: Annotated[int, Field(ge=0)] = 100

    secret_key: SecretStr = SecretStr("")
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    access_token_expire_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] = 60
    bcrypt_rounds: Annotated[int, Field(ge=4, le=18)] = 12

    llm_provider: ProviderName = "mock"
    llm_model: str = ""
    llm_fallbacks: Annotated[list[str], NoDecode] = []
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    llm_token_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    llm_breaker_failures: Annotated[int, Field(ge=0)] = 5
    llm_breaker_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    llm_context_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 8192
    llm_max_running_per_tenant: Annotated[int, Field(ge=1)] = 1000
    llm_prices: dict[str, Price] = MOCK_PRICES
    llm_mock_latency_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    llm_mock_fail_every: Annotated[int, Field(ge=0)] = 0
    message_lease_seconds: Annotated[float, Field(gt=0, le=86400)] = 240.0
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""
    anthropic_api_key: SecretStr = SecretStr("")
    anthropic_base_url: str = ""
    ollama_base_url: str = "http://127.0.0.1:11434"
    stream_heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    webhook_allowed_networks: Annotated[list[IPvAnyNetwork], NoDecode] = []

    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode] = []
    rate_limit_enabled: bool = True
    rate_limit_tenant: RateLimit = "6000/minute"
    rate_limit_user: RateLimit = "1200/minute"
    rate_limit_key: RateLimit = "1200/minute"
    rate_limit_address: RateLimit = "60/minute"
    rate_limit_login: RateLimit = "10/minute"
    redis_url: str = ""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    cors_origins: Annotated[list[str], NoDecode] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("cors_origins", "llm_fallbacks", "webhook_allowed_networks", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Accept the comma-separated form that an environment variable can hold."""
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("cors_origins")
    @classmethod
    def _without_slash(cls, value: list[str]) -> list[str]:
        return [origin.rstrip("/") for origin in value]

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _use_asyncpg(cls, value: str) -> str:
        """Accept the plain URL that hosting providers hand out."""
        scheme, separator, rest = value.partition("://")
        if not separator:
            if value:
                raise ValueError("must be a URL such as postgresql+asyncpg://user:password@host:5432/name")
            return value
        if scheme in {"postgres", "postgresql", "postgresql+asyncpg"}:
            return f"postgresql+asyncpg://{rest}"
        raise ValueError("only PostgreSQL is supported: use a postgresql+asyncpg:// URL")

    @field_validator("redis_url")
    @classmethod
    def _names_a_redis(cls, value: str) -> str:
        with suppress(ValueError):  # whose message may quote a password
            parts = urlsplit(value)
            if not value or (parts.scheme in {"redis", "rediss"} and parts.hostname and parts.port):
                return value
        raise ValueError("must be a URL with a port such as redis://:password@host:6379/0")

    @model_validator(mode="after")
    def _fit_for_production(self) -> Self:
        if self.message_lease_seconds <= self.llm_timeout_seconds * (1 + len(self.llm_fallbacks)):
            raise ValueError("MESSAGE_LEASE_SECONDS must be longer than LLM_TIMEOUT_SECONDS (times the providers)")
        for name, _ in self.providers():
            self._require_key(name)
        if self.environment == "development":
            return self
        if not self.database_url:
            raise ValueError("DATABASE_URL is required in production")
        if self.bcrypt_rounds < 12:
            raise ValueError("BCRYPT_ROUNDS must be at least 12 in production")
        _refuse_weak(self.secret_key.get_secret_value())
        return self

    def providers(self) -> list[tuple[ProviderName, str]]:
        """The providers to try in order, each with its model (empty: the provider's default here)."""
        chain: list[tuple[ProviderName, str]] = [(self.llm_provider, self.llm_model)]
        for pair in self.llm_fallbacks:
            name, _, model = pair.partition(":")
            if name not in get_args(ProviderName):
                raise ValueError("LLM_FALLBACKS names a provider that does not exist: use provider:model,...")
            chain.append((cast("ProviderName", name), model))
        return chain

    def _require_key(self, name: ProviderName) -> None:
        keys = {"openai": self.openai_api_key, "anthropic": self.anthropic_api_key}
        if name in keys and not keys[name].get_secret_value():
            raise ValueError(f"the provider {name} needs {name.upper()}_API_KEY")

    def signing_key(self) -> str:
        """The HMAC key of access tokens; an empty one in development is made once and kept in `DATA_DIR`."""
        return self.secret_key.get_secret_value() or load_or_create_secret_key(self.data_dir)


def _refuse_weak(key: str) -> None:
    if len(key.encode()) < MIN_SECRET_KEY_BYTES:
        raise ValueError(f"SECRET_KEY must be at least {MIN_SECRET_KEY_BYTES} bytes in production")
    if any(word in key.lower() for word in PLACEHOLDERS) or len(set(key)) < 10:
        raise ValueError(
            'SECRET_KEY is a placeholder; make one: python -c "import secrets; print(secrets.token_hex(32))"'
        )


@lru_cache
def get_settings() -> Settings:
    return Settings()
