"""Settings from the environment or `.env`, checked once at start-up."""

from functools import lru_cache
from typing import Self

from pydantic import model_validator

from app.core.settings.database import DatabaseSettings
from app.core.settings.documents import DocumentSettings
from app.core.settings.http import HttpSettings
from app.core.settings.identity import IdentitySettings
from app.core.settings.limits import LimitSettings
from app.core.settings.llm import LLMSettings
from app.core.settings.master_keys import MasterKeySettings
from app.core.settings.process import LogSettings, ProcessSettings
from app.core.settings.regions import RegionSettings
from app.core.settings.telemetry import TelemetrySettings


# Fields are collected from the last base to the first: `.env.example` lists the groups in the other order.
class Settings(
    TelemetrySettings,
    LogSettings,
    HttpSettings,
    LimitSettings,
    DocumentSettings,
    LLMSettings,
    MasterKeySettings,
    IdentitySettings,
    RegionSettings,
    DatabaseSettings,
    ProcessSettings,
):
    """Every knob of the service; `.env.example` and docs/settings.md list the same names."""

    @model_validator(mode="before")
    @classmethod
    def _without_white_space(cls, values: dict[str, object]) -> dict[str, object]:
        """What is read from a file ends in a line feed, which no header and no comparison forgives."""
        return {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}

    @model_validator(mode="after")
    def _listens_at_two_ports(self) -> Self:
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError("METRICS_PORT must be another than PORT")
        return self


@lru_cache
def get_settings() -> Settings:
    return Settings()
