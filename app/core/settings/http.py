"""What a request may look like, and whom browsers may send it for."""

from typing import Annotated

from pydantic import Field, field_validator

from app.core.settings.base import CommaSeparated, SettingsGroup
from app.core.settings.hosts import canonical_pattern, checked_origin


class HttpSettings(SettingsGroup):
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    keep_alive_seconds: Annotated[float, Field(gt=0, le=3600)] = 75.0
    docs_enabled: bool = True
    trusted_hosts: CommaSeparated[str] = []
    cors_origins: CommaSeparated[str] = []

    @field_validator("cors_origins")
    @classmethod
    def _as_sent(cls, value: list[str]) -> list[str]:
        return [origin if origin == "*" else checked_origin(origin.removesuffix("/")) for origin in value]

    @field_validator("trusted_hosts")
    @classmethod
    def _as_compared(cls, value: list[str]) -> list[str]:
        return [canonical_pattern(pattern) for pattern in value]
