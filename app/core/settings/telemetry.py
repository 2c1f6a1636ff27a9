"""What an operator sees of the service besides its log. The names of tracing are OpenTelemetry's own."""

from contextlib import suppress
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from app.core.settings.base import SettingsGroup


class TelemetrySettings(SettingsGroup):
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    metrics_host: str = "127.0.0.1"
    metrics_top_tenants: Annotated[int, Field(ge=0, le=100)] = 0
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_headers: SecretStr = SecretStr("")
    otel_service_name: str = "llm-saas-backend"
    otel_resource_attributes: str = ""
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = "parentbased_traceidratio"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 0.1

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _names_a_collector(cls, value: str) -> str:
        with suppress(ValueError):
            parts = urlsplit(value)
            if not value or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0):
                return value
        raise ValueError("must be a collector's URL for OTLP over HTTP, such as http://collector:4318")

    @field_validator("otel_exporter_otlp_headers", "otel_resource_attributes")
    @classmethod
    def _holds_pairs(cls, value: SecretStr | str) -> SecretStr | str:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if any("=" not in pair for pair in text.split(",") if pair.strip()):
            raise ValueError("must be written as name=value,name=value")
        return value

    @property
    def traces(self) -> bool:
        return bool(self.otel_exporter_otlp_endpoint)

    @property
    def is_observed(self) -> bool:
        """Whether anybody looks at what is counted and timed."""
        return self.traces or self.metrics_port != 0

    @property
    def otlp_headers(self) -> dict[str, str]:
        return _pairs(self.otel_exporter_otlp_headers.get_secret_value())

    @property
    def otel_attributes(self) -> dict[str, str]:
        return _pairs(self.otel_resource_attributes)


def _pairs(text: str) -> dict[str, str]:
    split = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in split}
