"""The service against its own OpenAPI description, with inputs that nobody would think of."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from functools import cache

import httpx
import jsonschema_rs
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import URL

from app.application import create_app
from tests.committed.server import free_port
from tests.conftest import make_settings
from tests.helpers import make_tenant

SCHEMAS = {
    "citations": "MessageCitations",
    "reasoning": "MessageReasoning",
    "delta": "MessageDelta",
    "tool_call": "MessageToolCall",
    "failed": "Problem",
    **dict.fromkeys(("message", "completed", "cancelled"), "MessageRead"),
}


@cache
def validator_of(name: str) -> jsonschema_rs.Draft202012Validator:
    components = create_app().openapi()["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return jsonschema_rs.Draft202012Validator(schema)


def events_are_as_described(stream: str) -> None:
    """Each event has a name and data of the schema that belongs to it; the first is the message, the last its end."""
    events = [
        dict(line.split(": ", 1) for line in part.split("\n"))
        for part in stream.split("\n\n")
        if part and not part.startswith(":")
    ]
    for event in events:
        error = next(validator_of(SCHEMAS[event["event"]]).iter_errors(json.loads(event["data"])), None)
        assert error is None, (event, error)
    assert events, stream
    assert events[-1]["event"] in ("completed", "failed", "cancelled")


def answers_as_described(ctx, response, case) -> bool | None:
    """Of a message's stream each event, by its name: the schema of one is of all its text."""
    if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        if case.path.startswith("/messages"):
            events_are_as_described(response.text)
        return None
    return response_schema_conformance(ctx, response, case)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, answers_as_described]


@pytest.fixture(scope="module")
def served(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service under uvicorn in a thread: schemathesis is not async, and the server's parser takes part."""
    app = create_app(make_settings(database_url, tmp_path_factory.mktemp("contract")))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield url
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def admin_headers(served: str) -> dict[str, str]:
    async def log_in() -> dict[str, str]:
        async with httpx.AsyncClient(base_url=served) as client:
            return (await make_tenant(client)).admin.headers

    with asyncio.Runner() as runner:
        return runner.run(log_in())


schema = schemathesis.openapi.from_dict(create_app().openapi())


@schema.parametrize()
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_description_promises(case, served: str, admin_headers: dict[str, str]) -> None:
    case.headers = {**(case.headers or {}), **admin_headers}
    case.call_and_validate(base_url=served, checks=CHECKS)
