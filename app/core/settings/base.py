"""What every group of settings shares: where values are read from, and how a list is written."""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Item = TypeVar("Item")


def _split(value: object) -> object:
    """Accept the comma-separated form that an environment variable can hold."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


CommaSeparated = Annotated[list[Item], NoDecode, BeforeValidator(_split)]


class SettingsGroup(BaseSettings):
    # What is refused may be a key: a traceback must not quote it.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: Literal["development", "production"] = "development"

    @property
    def in_production(self) -> bool:
        return self.environment == "production"
