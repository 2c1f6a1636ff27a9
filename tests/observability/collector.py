"""A collector that keeps what it is sent: the bytes, and the spans in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.waiting import until


class Span:
    """As it came over the wire."""

    def __init__(self, sent: Any) -> None:
        self.name: str = sent.name
        self.trace_id: str = sent.trace_id.hex()
        self.id: str = sent.span_id.hex()
        self.parent_id: str = sent.parent_span_id.hex()
        self.kind: int = sent.kind
        self.is_error: bool = sent.status.code == 2
        self.attributes = {pair.key: _value(pair.value) for pair in sent.attributes}

    def __repr__(self) -> str:
        return f"{self.name} {self.attributes}"


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.bytes = b""
        self.headers: list[dict[str, str]] = []
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bytes += body
        self.headers.append(dict(request.headers))
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {pair.key: _value(pair.value) for pair in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                self.spans += map(Span, scope_spans.spans)
        return web.Response()

    def of_trace(self, trace_id: str) -> dict[str, list[Span]]:
        """The trace's spans by name."""
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.trace_id == trace_id:
                found.setdefault(span.name, []).append(span)
        return found

    async def complete(self, trace_id: str, *names: str) -> dict[str, list[Span]]:
        """The trace's spans by name, once these are among them."""

        def found() -> dict[str, list[Span]] | None:
            spans = self.of_trace(trace_id)
            return spans if set(names) <= spans.keys() else None

        spans: dict[str, list[Span]] = await until(found, f"the spans {names}; there are {self.spans}")
        return spans


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    collecting = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collecting.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collecting.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collecting
    await runner.cleanup()


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
