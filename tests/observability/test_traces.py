"""Spans as a collector gets them from the service as it is run, and what must never be among them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import ValidationError
from sqlalchemy import URL

from app.core.config import Settings
from app.observability.export import AskedFor, sampler_of
from tests.committed.server import ServerProcess, running
from tests.committed.test_webhooks import Receiver
from tests.conftest import clone
from tests.helpers import PASSWORD, Tenant, make_tenant
from tests.llm.loopback import Loopback, completion, loopback
from tests.observability.collector import Collector, collector

PROMPT, ANSWER, SEARCHED, PATH = "canaryprompt", "canaryanswer", "canarysearch", "canarypath"
PROVIDER_KEY = "sk-canarykey"
SERVER, CLIENT, CONSUMER = 2, 3, 5


@dataclass
class Traced:
    collector: Collector
    provider: Loopback
    server: ServerProcess
    client: httpx.AsyncClient
    acme: Tenant

    async def ask(self, method: str, path: str, **options: Any) -> tuple[httpx.Response, str]:
        """The answer, and the id of the trace that the caller asked to be recorded."""
        trace_id = secrets.token_hex(16)
        headers = {
            "traceparent": f"00-{trace_id}-{'ab' * 8}-01",
            **self.acme.user.headers,
            **options.pop("headers", {}),
        }
        return await self.client.request(method, path, headers=headers, **options), trace_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traced(template_url: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """A service whose spans go to a collector, those alone whose caller asks for it."""

    async def answer(body: dict[str, Any]) -> Any:
        if body["messages"][-1]["content"] == "fail":
            return 401, {}, ANSWER.encode()
        return completion(ANSWER)

    url = (await clone(template_url)).render_as_string(hide_password=False)
    async with collector() as collecting, loopback(answer) as provider:
        settings = {
            "database_url": url,
            "llm_provider": "openai",
            "openai_api_key": PROVIDER_KEY,
            "openai_base_url": provider.base_url,
            "llm_model": "tiny",
            "otel_exporter_otlp_endpoint": collecting.url,
            "otel_exporter_otlp_headers": "x-token=of%20ours",
            "otel_resource_attributes": "service.namespace=tests",
            "otel_traces_sampler_arg": "0",
            "otel_bsp_schedule_delay": "50",
            "webhook_allowed_networks": "127.0.0.0/8",
            # FastAPI's own would record what is searched for.
            "fastapi_otel_auto_configure": "true",
        }
        async with running(tmp_path_factory.mktemp("traces"), **settings) as server, server.client() as client:
            yield Traced(collecting, provider, server, client, await make_tenant(client))


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield receiver
    server.close()


async def test_a_message_is_one_trace_from_the_caller_to_the_provider(traced: Traced) -> None:
    answer, trace_id = await traced.ask("POST", "/messages", json={"content": PROMPT})
    assert answer.status_code == 201, answer.text
    spans = await traced.collector.complete(trace_id, "POST /messages", "chat tiny", "transaction")
    (request,), (call,), transactions = spans["POST /messages"], spans["chat tiny"], spans["transaction"]
    assert (request.parent_id, request.kind) == ("ab" * 8, SERVER)
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["http.route"] == "/messages"
    assert request.attributes["http.response.status_code"] == 201
    assert not request.is_error
    assert (call.parent_id, call.kind) == (request.id, CLIENT)
    message = answer.json()
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": message["model"],
        "gen_ai.usage.input_tokens": message["input_tokens"],
        "gen_ai.usage.output_tokens": message["output_tokens"],
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert {name: call.attributes.get(name) for name in expected} == expected
    assert len(transactions) in (2, 3), "one that reserves, one that settles, at times one for the tenant's own keys"
    for transaction in transactions:
        assert transaction.parent_id == request.id
        assert transaction.attributes["db.system.name"] == "postgresql"
        assert transaction.attributes["db.client.connection.wait_time"] >= 0
    sent, _ = traced.provider.requests[-1]
    assert sent["traceparent"] == f"00-{trace_id}-{call.id}-01"
    assert traced.collector.resource.items() >= {
        ("service.name", "llm-saas-backend"),
        ("service.namespace", "tests"),
        ("deployment.environment.name", "development"),
    }
    assert traced.collector.headers[-1]["x-token"] == "of ours"


async def test_what_another_process_goes_on_with_belongs_to_the_same_trace(traced: Traced, receiver: Receiver) -> None:
    body = {"content": PROMPT, "background": True, "webhook_url": receiver.url}
    answer, trace_id = await traced.ask("POST", "/messages", json=body)
    assert answer.status_code == 202
    spans = await traced.collector.complete(trace_id, "POST /messages", "chat tiny", "deliver webhook")
    (request,), (delivery,) = spans["POST /messages"], spans["deliver webhook"]
    assert (delivery.parent_id, delivery.kind) == (request.id, CONSUMER)
    ((headers, _),) = receiver.calls
    assert headers["traceparent"] == f"00-{trace_id}-{delivery.id}-01"


async def test_a_failure_is_named_by_its_code(traced: Traced) -> None:
    answer, trace_id = await traced.ask("POST", "/messages", json={"content": "fail"})
    assert answer.status_code == 502
    spans = await traced.collector.complete(trace_id, "POST /messages", "chat tiny")
    (request,), (call,) = spans["POST /messages"], spans["chat tiny"]
    assert call.is_error
    assert call.attributes["error.type"] == "provider_rejected"
    assert request.is_error
    assert request.attributes["error.type"] == "502"


async def test_each_line_of_the_log_names_the_trace(traced: Traced) -> None:
    answer, trace_id = await traced.ask("GET", "/me")
    assert answer.status_code == 200
    (request,) = (await traced.collector.complete(trace_id, "GET /me"))["GET /me"]
    written = traced.server.log.read_text().splitlines()
    lines = [json.loads(line) for line in written if line.startswith("{")]  # the welcome is none
    (line,) = (line for line in lines if line.get("trace_id") == trace_id)
    assert (line["event"], line["span_id"]) == ("request", request.id)
    assert (
        line["own_request_id" if "own_request_id" in line else "request_id"]
        == request.attributes["llm_saas.request_id"]
    )


async def test_a_request_that_nobody_asks_to_be_recorded_is_left_to_the_ratio(traced: Traced) -> None:
    before = len(traced.collector.spans)
    assert (await traced.client.get("/me", headers=traced.acme.user.headers)).status_code == 200
    _, trace_id = await traced.ask("GET", "/me")  # exported after whatever the one before it left
    await traced.collector.complete(trace_id, "GET /me")
    assert {span.trace_id for span in traced.collector.spans[before:]} == {trace_id}


async def test_what_anybody_wrote_or_is_known_by_never_leaves(traced: Traced) -> None:
    acme = traced.acme
    answers = [
        await traced.ask("POST", "/messages", json={"content": PROMPT}),
        await traced.ask("POST", "/messages", json={"content": PROMPT}, headers={"Accept": "text/event-stream"}),
        await traced.ask("GET", f"/messages?q={SEARCHED}"),
        await traced.ask("GET", f"/{PATH}"),
        await traced.ask("GET", f"/messages/{PATH}", headers={"X-Request-ID": PATH, "baggage": f"a={PATH}"}),
        await traced.ask("POST", "/login", json={"email": acme.user.email, "password": PASSWORD}),
        await traced.ask("POST", "/api-keys", json={"name": PATH, "scopes": ["messages:read"]}),
    ]
    key = answers[-1][0].json()["key"]
    _, last = await traced.ask("GET", "/messages", headers={"Authorization": f"Bearer {key}"})
    await traced.collector.complete(last, "GET /messages")
    for _, trace_id in answers:
        assert traced.collector.of_trace(trace_id), "it was recorded"
    secret = [PROMPT, ANSWER, SEARCHED, PATH, PASSWORD, PROVIDER_KEY, key, acme.user.token, acme.user.email]
    known = [acme.id, acme.user.id, acme.admin.id, "enter_tenant", "127.0.0.1"]
    for word in [*secret, *known]:
        assert word.encode() not in traced.collector.bytes, word
    for headers, _ in traced.provider.requests:
        assert "baggage" not in headers


def test_an_endpoint_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="must be a collector's URL") as refused:
        Settings(_env_file=None, otel_exporter_otlp_endpoint="collector:4318")
    assert refused.value.errors()[0]["loc"] == ("otel_exporter_otlp_endpoint",)


@pytest.mark.parametrize(
    ("sampler", "recorded"),
    [
        ("parentbased_traceidratio", {"asked": True, "not asked": False, "nobody": False}),
        ("parentbased_always_on", {"asked": True, "not asked": False, "nobody": True}),
        ("traceidratio", {"asked": False, "not asked": False, "nobody": False}),
        ("always_on", {"asked": True, "not asked": True, "nobody": True}),
        ("always_off", {"asked": False, "not asked": False, "nobody": False}),
    ],
)
def test_the_sampler_is_the_one_that_is_named(sampler: str, recorded: dict[str, bool]) -> None:
    named = sampler_of(Settings(_env_file=None, otel_traces_sampler=sampler, otel_traces_sampler_arg=0))
    for who, flags in (("asked", "01"), ("not asked", "00")):
        assert records(named, called_with(flags)) == recorded[who]
    assert records(named, None) == recorded["nobody"]


def test_callers_cannot_have_everything_recorded() -> None:
    sampler = AskedFor(ALWAYS_OFF, most=3, clock=lambda: 1.0)
    assert [records(sampler, called_with("01")) for _ in range(5)] == [True, True, True, False, False]


def called_with(flags: str) -> Context:
    return TraceContextTextMapPropagator().extract({"traceparent": f"00-{'ab' * 16}-{'ab' * 8}-{flags}"}, Context())


def records(sampler: Sampler, parent: Context | None) -> bool:
    return sampler.should_sample(parent, secrets.randbits(128), "GET").decision.is_sampled()
