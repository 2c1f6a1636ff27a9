"""Spans on their way to a collector, by OTLP over HTTP. Imported where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

The provider of spans is ours alone and not the process's: no library that would record more than we do finds it.
"""

import threading
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from app.core.settings.telemetry import TelemetrySettings
from app.observability import tracing

PATH = "/v1/traces"
EXPORT_SECONDS = 5.0
CLOSE_SECONDS = 5.0
ASKED_FOR_A_SECOND = 100
"""Traces that callers may have recorded by asking for it (`traceparent`); anybody may ask."""


class Export:
    """Traces from `open` to `close`."""

    def __init__(self, settings: TelemetrySettings, version: str) -> None:
        exporter = OTLPSpanExporter(
            endpoint=settings.otel_exporter_otlp_endpoint.rstrip("/") + PATH,
            headers=settings.otlp_headers,
            timeout=EXPORT_SECONDS,
        )
        self._provider = TracerProvider(sampler_of(settings), resource_of(settings, version), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._version = version

    def open(self) -> None:
        tracing.use(self._provider.get_tracer("app", self._version))

    def close(self) -> None:
        """Send what is left, for so long; blocks."""
        tracing.use(None)
        # The collector may be away: the library would try for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def resource_of(settings: TelemetrySettings, version: str) -> Resource:
    own = {
        "service.name": settings.otel_service_name,
        "service.version": version,
        "deployment.environment.name": settings.environment,
    }
    return Resource.create({**own, **settings.otel_attributes})


def sampler_of(settings: TelemetrySettings) -> Sampler:
    _, parent_based, kind = settings.otel_traces_sampler.rpartition("parentbased_")
    roots: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.otel_traces_sampler_arg),
    }
    root = roots[kind]
    return ParentBased(root, remote_parent_sampled=AskedFor(root)) if parent_based else root


class AskedFor(Sampler):
    """Records what a caller wants recorded, up to so many traces a second; beyond that as if nobody had asked."""

    def __init__(
        self, otherwise: Sampler, most: int = ASKED_FOR_A_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._otherwise = otherwise
        self._most = most
        self._clock = clock
        self._second, self._count = 0, 0

    def should_sample(self, *args: object, **options: object) -> SamplingResult:
        second = int(self._clock())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        sampler = ALWAYS_ON if self._count <= self._most else self._otherwise
        return sampler.should_sample(*args, **options)  # type: ignore[arg-type]

    def get_description(self) -> str:
        return f"AskedFor{{{self._most}, {self._otherwise.get_description()}}}"
