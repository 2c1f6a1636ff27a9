"""What a request may look like, and whom browsers may send it for."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from app.core.settings.base import CommaSeparated, SettingsGroup
from app.core.settings.hosts import canonical_pattern, checked_origin

MIB = 1024 * 1024


class HttpSettings(SettingsGroup):
    max_body_bytes: Annotated[int, Field(ge=1024)] = MIB
    v1_max_body_bytes: Annotated[int, Field(ge=1024)] = 32 * MIB
    v1_bodies_bytes: Annotated[int, Field(ge=2048)] = 128 * MIB
    keep_alive_seconds: Annotated[float, Field(gt=0, le=3600)] = 75.0
    docs_enabled: bool = True
    console_enabled: bool = True
    trusted_hosts: CommaSeparated[str] = []
    cors_origins: CommaSeparated[str] = []

    @field_validator("cors_origins")
    @classmethod
    def _as_sent(cls, value: list[str]) -> list[str]:
        return [origin if origin == "*" else checked_origin(origin.removesuffix("/")) for origin in value]

    @model_validator(mode="after")
    def _holds_the_largest(self) -> Self:
        if self.v1_bodies_bytes < 2 * self.v1_max_body_bytes:
            raise ValueError("V1_BODIES_BYTES must be at least twice V1_MAX_BODY_BYTES: a tenant has half of it")
        return self

    @field_validator("trusted_hosts")
    @classmethod
    def _as_compared(cls, value: list[str]) -> list[str]:
        return [canonical_pattern(pattern) for pattern in value]
