"""The process itself: where it listens, what runs beside the requests, and how it logs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.core.settings.base import SettingsGroup


class ProcessSettings(SettingsGroup):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Path(".data")
    background_work: bool = True


class LogSettings(SettingsGroup):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
