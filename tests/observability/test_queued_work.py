"""A message that waits for a worker: shown while it does, and run in the trace that it was sent in."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from app.application import lifespan
from app.core.config import Settings
from app.llm.observed import Observed
from app.messages.waiting_work import WaitingWork
from app.observability import tracing
from app.observability.exposition import family_of
from app.observability.instruments import QUEUE_AGE, QUEUE_DEPTH, WEBHOOKS_DUE
from app.worker import create_worker
from tests.committed.conftest import Serve, rows_of, serve
from tests.committed.providers import HeldProvider
from tests.conftest import own_database
from tests.helpers import make_tenant
from tests.llm.service import service_of
from tests.waiting import until

database_url, settings, superuser = own_database()
__all__ = ["serve"]
TRACE, CALLER = "cd" * 16, "ab" * 8


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What this process records: what its callers ask for."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider.get_tracer("tests"))
    yield exporter
    tracing.use(None)


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    gauges = (QUEUE_DEPTH, QUEUE_AGE, WEBHOOKS_DUE)
    for gauge in gauges:
        gauge.switch_on(partial(family_of, registry=registry), shared=False)
    yield registry
    for gauge in gauges:
        gauge.switch_off()


async def test_what_waits_is_shown_and_runs_in_the_trace_that_it_was_sent_in(
    serve: Serve,
    settings: Settings,
    superuser: asyncpg.Connection,
    spans: InMemorySpanExporter,
    registry: CollectorRegistry,
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, message_workers=True) as (app, api):
        waiting = WaitingWork([app.state.container.database], queue=True)
        await waiting.show()
        assert (registry.get_sample_value(QUEUE_DEPTH.name), registry.get_sample_value(QUEUE_AGE.name)) == (0, 0)
        acme = await make_tenant(api)
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", **acme.user.headers}
        sent = await api.post("/messages", json={"content": "x", "background": True}, headers=headers)
        assert sent.status_code == 202
        await waiting.show()
        assert registry.get_sample_value(QUEUE_DEPTH.name) == 1
        age = registry.get_sample_value(QUEUE_AGE.name)
        assert age is not None
        assert age > 0
        assert registry.get_sample_value(WEBHOOKS_DUE.name) == 0
        (row,) = await rows_of(superuser, acme)
        (request,) = (
            span for span in spans.get_finished_spans() if span.name == "POST /messages" and is_in_trace(span)
        )
        assert row["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    async with worker(settings, provider):
        await until(lambda: provider.calls == 1, "the worker to ask the provider")
        chat = await until(
            lambda: [span for span in spans.get_finished_spans() if span.name.startswith("chat")], "its end"
        )
    (begun,) = (span for span in spans.get_finished_spans() if span.name == "begin message")
    assert is_in_trace(begun)
    assert begun.parent.span_id == request.context.span_id
    assert is_in_trace(chat[0])
    assert chat[0].parent.span_id == begun.context.span_id


def is_in_trace(span: object) -> bool:
    return f"{span.context.trace_id:032x}" == TRACE  # type: ignore[attr-defined]


@asynccontextmanager
async def worker(settings: Settings, provider: HeldProvider) -> AsyncIterator[None]:
    configured = settings.model_copy(update={"db_pool_size": 2})
    app = create_worker(configured)
    async with lifespan(app):
        app.state.container.engine.llm = service_of(
            Observed(provider), configured.llm_prices, configured.llm_max_output_tokens
        )
        yield
