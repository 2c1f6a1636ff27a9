"""Spans, once an exporter is set up (`app.observability.export`); until then every function here returns at once.

A span says what happened, how long it took and how it ended: no text of anybody, no path as it was typed, no id of a
tenant or person. Who that was stands in the log, whose lines carry the id of the trace.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

# Baggage is not handed on: what a caller puts there is nothing for a provider or a webhook.
_PROPAGATOR = TraceContextTextMapPropagator()
_NOWHERE = context.Context()
_NOTHING: Mapping[str, str] = {}

_tracer: "Tracer | None" = None


def use(tracer: "Tracer | None") -> None:
    """Make spans with it from here on; None: no more."""
    global _tracer  # noqa: PLW0603 - one for the process, as its log is
    _tracer = tracer


def recorded() -> bool:
    """Whether what happens here and now belongs to a trace that is recorded."""
    return _tracer is not None and trace.get_current_span().get_span_context().trace_flags.sampled


def ids() -> tuple[str, str] | None:
    """Of the trace and of the span, as a log line has them."""
    if _tracer is None:
        return None
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return None
    return trace.format_trace_id(here.trace_id), trace.format_span_id(here.span_id)


def headers() -> Mapping[str, str]:
    """What a request to somebody else carries, so that it belongs to the same trace there."""
    if _tracer is None:
        return _NOTHING
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def traceparent() -> str | None:
    """Of the trace that is recorded here, to be kept with what another process goes on with."""
    return headers().get("traceparent") if recorded() else None


class RequestSpan:
    """Of a request to us, from its head to the end of its answer."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: "Span") -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span, _NOWHERE))

    def end(self, method: str, route: str | None, status: int, request_id: str) -> None:
        """`status` 0: the client went away before there was one."""
        if self._span.is_recording():
            self._span.update_name(method if route is None else f"{method} {route}")
            if route is not None:
                self._span.set_attribute("http.route", route)
            self._span.set_attribute("http.request.method", method if method != "OTHER" else "_OTHER")
            self._span.set_attribute("http.response.status_code", status)
            self._span.set_attribute("llm_saas.request_id", request_id)
            if status >= 500 or not status:
                failed(self._span, str(status or "cancelled"))
        context.detach(self._token)
        self._span.end()


def begin_request(received: Mapping[bytes, bytes]) -> RequestSpan | None:
    """`received` holds its headers, among them `traceparent` and `tracestate` where the caller has sent them."""
    if _tracer is None:
        return None
    parent = _NOWHERE
    if given := received.get(b"traceparent"):
        carrier = {"traceparent": given.decode("latin-1")}
        if b"tracestate" in received:
            carrier["tracestate"] = received[b"tracestate"].decode("latin-1")
        parent = _PROPAGATOR.extract(carrier, _NOWHERE)
    return RequestSpan(_tracer.start_span("HTTP", parent, SpanKind.SERVER))


def begin_part(name: str, attributes: "Mapping[str, AttributeValue]") -> "Span | None":
    """A span for a part of what is recorded here; whoever begins it ends it. None if nothing is recorded."""
    if _tracer is None or not recorded():
        return None
    return _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


@contextmanager
def part(name: str, attributes: "Mapping[str, AttributeValue]") -> "Iterator[Span | None]":
    """As `begin_part`, around a block whose own parts belong to it."""
    span = begin_part(name, attributes)
    if span is None:
        yield None
        return
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        yield span


@contextmanager
def continued(name: str, from_: str | None) -> Iterator[None]:
    """Go on in a block with the trace that another process began, by its `traceparent`; None: it is not recorded."""
    if _tracer is None or from_ is None:
        yield
        return
    parent = _PROPAGATOR.extract({"traceparent": from_}, _NOWHERE)
    with _tracer.start_as_current_span(
        name, parent, SpanKind.CONSUMER, record_exception=False, set_status_on_exception=False
    ):
        yield


def failed(span: "Span | None", kind: str) -> None:
    """Note why it failed: a code, or the name of an exception's class, never its words."""
    if span is not None:
        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR)


def failed_here(kind: str) -> None:
    """As `failed`, of the block that is gone on with."""
    if recorded():
        failed(trace.get_current_span(), kind)
