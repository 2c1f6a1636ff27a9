"""Where PostgreSQL is, and how much of it a process takes."""

from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from app.core.settings.base import SettingsGroup
from app.core.settings.database_url import checked_url, with_password


class DatabaseSettings(SettingsGroup):
    database_url: str = ""
    database_password: SecretStr = SecretStr("")
    database_direct_url: str = ""
    database_replica_url: str = ""
    migration_database_url: str = ""
    migration_database_password: SecretStr = SecretStr("")
    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    db_max_overflow: Annotated[int, Field(ge=0, le=1000)] = 0
    db_connections_per_tenant: Annotated[int, Field(ge=0, le=2000)] = 0
    db_statement_timeout_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    db_statement_cache_size: Annotated[int, Field(ge=0)] = 100
    db_pooler_prepared: bool = False

    @model_validator(mode="before")
    @classmethod
    def _put_passwords_into_urls(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A password of its own may hold characters that have a meaning in a URL."""
        urls = {}
        for name in ("database", "migration_database"):
            if (url := values.get(f"{name}_url")) and (password := values.get(f"{name}_password")):
                urls[f"{name}_url"] = with_password(url, password)
        for name in ("database_direct_url", "database_replica_url"):
            if (url := values.get(name)) and (password := values.get("database_password")):
                urls[name] = with_password(url, password)
        return values | urls

    @field_validator("database_url", "database_direct_url", "database_replica_url", "migration_database_url")
    @classmethod
    def _use_asyncpg(cls, value: str) -> str:
        """Accept the plain URL that hosting providers hand out."""
        return checked_url(value) if value else value

    @model_validator(mode="after")
    def _names_a_database(self) -> Self:
        if self.in_production and not self.database_url:
            raise ValueError("DATABASE_URL is required in production")
        return self
