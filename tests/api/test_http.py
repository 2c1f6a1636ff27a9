"""What HTTP asks of every service: methods, representations, spellings."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api.negotiation import prefers_events
from app.api.sse import _frame
from app.api.statuses import STATUSES, TITLES
from app.core.config import Settings
from tests.api.problems import assert_problem
from tests.api.test_headers import variant
from tests.conftest import client_of
from tests.helpers import PASSWORD, Tenant, send, unique_email

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/ready", "/docs", "/redoc", "/openapi.json", "/.well-known/jwks.json", "/me", "/messages"],
)
async def test_head_is_get_without_its_body(client: httpx.AsyncClient, acme: Tenant, path: str) -> None:
    got, head = [await client.request(method, path, headers=acme.user.headers) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (200, b"")
    differing = {"x-request-id", "content-length"}  # the id of the process or a time may have another length
    assert {name: head.headers[name] for name in head.headers if name not in differing} == {
        name: got.headers[name] for name in got.headers if name not in differing
    }


async def test_head_of_a_stream_ends(client: httpx.AsyncClient, acme: Tenant) -> None:
    message = await send(client, acme.user)
    answer = await client.head(f"/messages/{message['id']}/stream", headers=acme.user.headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert_problem_without_body(await client.head("/nowhere"), 404)


def assert_problem_without_body(answer: httpx.Response, status: int) -> None:
    assert (answer.status_code, answer.content) == (status, b"")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/messages", "GET, HEAD, OPTIONS, POST"),
        ("/messages/x", "DELETE, GET, HEAD, OPTIONS"),
        ("/messages/x/cancel", "OPTIONS, POST"),
        ("/admin/budget", "GET, HEAD, OPTIONS, PUT"),
        ("/conversations/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/tenants/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/static-offline-docs/swagger-ui.css", "GET, HEAD, OPTIONS"),
    ],
)
async def test_allow_names_every_method_of_the_path(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    refused = await client.request("TRACE", path)
    assert_problem(refused, 405)
    options = await client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    assert refused.headers.get_list("allow") == options.headers.get_list("allow") == [allowed]


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (["text/event-stream"], True),
        (["Text/Event-Stream"], True),
        (["text/event-stream; charset=utf-8"], True),
        (["text/event-stream, */*;q=0.1"], True),
        (["application/json;q=0.5, text/event-stream"], True),
        (["application/json; Q=0.5", "text/event-stream;q=0.501"], True),
        (["text/*, application/json;q=0.9"], True),
        (["text/event-stream, application/json;q=0"], True),
        ([], False),
        (["*/*"], False),
        (["application/json"], False),
        (["text/event-stream;q=0"], False),
        (["text/event-stream;q=0, */*"], False),
        (["text/event-stream;q=0.5, application/json"], False),
        (["text/event-stream;q=0.5, */*"], False),
        (["text/event-stream, application/json"], False),
        (["application/json, text/*;q=0.1"], False),
        (["text/event-stream;q=2"], False),
        (["text/event-streams"], False),
        (["application/x; title=text/event-stream"], False),
        ([", ;,;q=, q=1"], False),
    ],
)
def test_the_accept_header_is_read_by_its_grammar(accept: list[str], events: bool) -> None:
    assert prefers_events(accept) is events


async def test_what_the_body_says_goes_before_what_is_accepted(client: httpx.AsyncClient, acme: Tenant) -> None:
    kinds = []
    for mode, accept in (({"stream": True}, "application/json"), ({}, "text/event-stream;q=0.1"), ({}, "*/*")):
        answer = await client.post(
            "/messages", json={"content": "Hello", **mode}, headers={**acme.user.headers, "Accept": accept}
        )
        kinds.append(answer.headers["content-type"].partition(";")[0])
    assert kinds == ["text/event-stream", "text/event-stream", "application/json"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/messages", {**JSON, "Content-Encoding": "gzip"}),
        ("/messages", {**JSON, "Content-Encoding": "identity, br"}),
        ("/login", {**JSON, "Content-Encoding": "zstd"}),
        ("/token", {"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}),
        ("/messages", {"Content-Type": "application/json; charset=iso-8859-1"}),
        ("/messages", {"Content-Type": 'application/json; Charset="windows-1252"'}),
        ("/messages", {"Content-Type": "text/plain"}),
        ("/messages", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("/login", {"Content-Type": "application/xml"}),
        ("/token", {"Content-Type": "application/json"}),
    ],
)
async def test_a_body_in_another_representation_is_refused_as_such(
    client: httpx.AsyncClient, acme: Tenant, path: str, headers: dict[str, str]
) -> None:
    content = {"/messages": '{"content": "Hello"}'}.get(path, json.dumps({"email": "a@acme.com", "password": PASSWORD}))
    answer = await client.post(path, content=content, headers={**acme.user.headers, **headers})
    assert assert_problem(answer, 415)["type"] == "urn:llm-saas:problem:unsupported-media-type"


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"', "us-ascii"])
async def test_a_body_may_say_that_it_is_unicode(client: httpx.AsyncClient, acme: Tenant, charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}", "Content-Encoding": "identity"}
    answer = await client.post("/messages", content=b'{"content": "Hello"}', headers={**acme.user.headers, **headers})
    assert answer.status_code == 201


async def test_ids_are_read_in_either_case(client: httpx.AsyncClient, acme: Tenant) -> None:
    headers = acme.admin.headers
    talk = (await client.post("/conversations", json={"title": "x"}, headers=headers)).json()["id"]
    body = {"content": "Hello", "conversation_id": talk.upper()}
    message = (await client.post("/messages", json=body, headers=headers)).json()
    assert message["conversation_id"] == talk
    for path in (f"/tenants/{acme.id.upper()}", f"/messages/{message['id'].upper()}", f"/conversations/{talk.upper()}"):
        assert (await client.get(path, headers=headers)).status_code == 200, path
    for query in (f"conversation_id={talk.upper()}", f"user_id={acme.admin.id.upper()}"):
        listed = (await client.get(f"/messages?{query}", headers=headers)).json()
        assert [row["id"] for row in listed] == [message["id"]], query
    registration = {"email": unique_email(), "password": PASSWORD, "tenant_id": acme.id.upper()}
    registered = await client.post("/register", json=registration)
    assert (registered.status_code, registered.json()["tenant_id"]) == (201, acme.id)
    entries = await client.get(f"/admin/audit-log?target_id={registered.json()['id'].upper()}", headers=headers)
    assert entries.json()


async def test_links_and_locations_keep_the_root_path(app: FastAPI, acme: Tenant) -> None:
    transport = httpx.ASGITransport(app, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"content": "Hello", "background": True}
        for _ in range(2):
            answer = await client.post("/api/messages", json=body, headers=acme.user.headers)
        assert answer.headers["location"] == f"/api/messages/{answer.json()['id']}"
        listed = await client.get("/api/messages?limit=1", headers=acme.user.headers)
        assert listed.headers["link"].startswith("</api/messages?")
        assert (await client.get("/api/")).headers["location"] == "/api/docs"


def test_the_data_of_an_event_is_one_line_to_every_reader() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf\rg"
    event = _frame("delta", json.dumps({"text": text}, ensure_ascii=False)).decode()
    [_, data, end] = event.splitlines()
    assert end == ""
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


@pytest.mark.parametrize(
    ("path", "field"), [("/messages", "stream"), ("/messages", "background"), ("/admin/invites", "expires_in_hours")]
)
async def test_null_in_the_place_of_a_default_is_the_default(
    client: httpx.AsyncClient, acme: Tenant, path: str, field: str
) -> None:
    body: dict[str, Any] = {"content": "Hello"} if path == "/messages" else {"email": unique_email()}
    answer = await client.post(path, json={**body, field: None}, headers=acme.admin.headers)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"


async def test_of_many_unknown_fields_a_few_are_named(client: httpx.AsyncClient, acme: Tenant) -> None:
    many = {str(number): 1 for number in range(70_000)}
    answer = await client.post("/messages", json={"content": "x", **many}, headers=acme.user.headers)
    problem = assert_problem(answer, 422)
    assert 0 < len(problem["errors"]) <= 10
    assert {error["type"] for error in problem["errors"]} == {"extra_forbidden"}


async def test_what_holds_no_text_is_small(client: httpx.AsyncClient, acme: Tenant) -> None:
    padded = {"email": "a@acme.com", "password": "x", "padding": "x" * 17_000}
    for path in ("/login", "/register", "/refresh", "/create-tenant", "/admin/invites", "/token"):
        assert_problem(await client.post(path, json=padded, headers=acme.admin.headers), 413)
    text = {"content": "x" * 17_000}
    assert (await client.post("/messages", json=text, headers=acme.user.headers)).status_code == 201


def test_every_status_has_a_title_of_ours() -> None:
    assert set(STATUSES.values()) <= TITLES.keys()


async def test_an_answer_without_a_body_has_no_type(client: httpx.AsyncClient, acme: Tenant) -> None:
    message = await send(client, acme.user)
    for answer in (
        await client.delete(f"/messages/{message['id']}", headers=acme.user.headers),
        await client.post("/logout", headers=acme.user.headers),
    ):
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers


async def test_the_address_alone_leads_to_the_documentation(settings: Settings, app: FastAPI) -> None:
    async with client_of(app) as client:
        assert (await client.get("/")).headers["location"] == "/docs"
    async with client_of(variant(settings, app, environment="production")) as client:
        assert_problem(await client.get("/"), 404)


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"], ["a.example", "a.example"]])
async def test_a_request_has_one_host(client: httpx.AsyncClient, hosts: list[str]) -> None:
    request = client.build_request("GET", "/me")
    request.headers = httpx.Headers([("Host", host) for host in hosts])
    assert assert_problem(await client.send(request), 400)["type"] == "urn:llm-saas:problem:invalid-host"


async def test_the_documentation_can_be_left_out(settings: Settings, app: FastAPI) -> None:
    async with client_of(variant(settings, app, docs_enabled=False)) as client:
        for path in (
            "/",
            "/docs",
            "/redoc",
            "/openapi.json",
            "/docs/oauth2-redirect",
            "/static-offline-docs/favicon.png",
        ):
            assert_problem(await client.get(path), 404)
        assert (await client.get("/health")).status_code == 200


async def test_the_documentation_keeps_no_token_in_the_browser(client: httpx.AsyncClient) -> None:
    assert "persistAuthorization" not in (await client.get("/docs")).text
