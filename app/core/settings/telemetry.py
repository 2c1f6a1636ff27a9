"""What an operator sees of the service besides its log."""

from typing import Annotated

from pydantic import Field

from app.core.settings.base import SettingsGroup


class TelemetrySettings(SettingsGroup):
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    metrics_host: str = "127.0.0.1"
    metrics_top_tenants: Annotated[int, Field(ge=0, le=100)] = 0

    @property
    def is_observed(self) -> bool:
        """Whether anybody looks at what is counted and timed."""
        return self.metrics_port != 0
