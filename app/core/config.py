"""Settings from the environment or `.env`, checked once at start-up."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.secret_key import load_or_create_secret_key

MIN_SECRET_KEY_BYTES = 32
PLACEHOLDERS = ("change", "replace", "secret", "your-", "example", "placeholder", "<")


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

    llm_provider: Literal["mock", "openai"] = "mock"
    llm_model: str = ""
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    llm_max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    llm_mock_latency_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    llm_mock_fail_every: Annotated[int, Field(ge=0)] = 0
    message_lease_seconds: Annotated[float, Field(gt=0, le=86400)] = 120.0
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    cors_origins: Annotated[list[str], NoDecode] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        """Accept the comma-separated form that an environment variable can hold."""
        if isinstance(value, str):
            return [origin.strip().rstrip("/") for origin in value.split(",") if origin.strip()]
        return value

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

    @model_validator(mode="after")
    def _fit_for_production(self) -> Self:
        if self.message_lease_seconds <= self.llm_timeout_seconds:
            raise ValueError("MESSAGE_LEASE_SECONDS must be longer than LLM_TIMEOUT_SECONDS")
        if self.llm_provider == "openai" and not self.openai_api_key.get_secret_value():
            raise ValueError("LLM_PROVIDER=openai needs OPENAI_API_KEY")
        if self.environment == "development":
            return self
        if not self.database_url:
            raise ValueError("DATABASE_URL is required in production")
        if self.bcrypt_rounds < 12:
            raise ValueError("BCRYPT_ROUNDS must be at least 12 in production")
        _refuse_weak(self.secret_key.get_secret_value())
        return self

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
