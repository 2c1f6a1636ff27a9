"""The headers of every answer, Host and Link."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.application import create_app
from app.core.config import Settings
from tests.api.problems import assert_problem
from tests.committed.server import running
from tests.conftest import client_of
from tests.helpers import Tenant, send

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("host", ["[", "evil.example", "a b", "", "x:99999999"])
async def test_a_hostile_host_header_changes_nothing(client: httpx.AsyncClient, acme: Tenant, host: str) -> None:
    for _ in range(2):
        await send(client, acme.user)
    answer = await client.get("/messages?limit=1&tenant_id=x", headers={**acme.user.headers, "Host": host})
    assert answer.status_code == 200
    assert answer.headers["link"].startswith("</messages?limit=1&cursor=")
    assert answer.headers["link"].endswith('>; rel="next"')
    assert_problem(await client.get("/messages/", headers={**acme.user.headers, "Host": host}), 404)


def variant(settings: Settings, app: FastAPI, **changes: object) -> FastAPI:
    """The application with other settings, on the same database."""
    other = create_app(settings.model_copy(update=changes))
    other.state.container = app.state.container

    @other.get("/broken", include_in_schema=False)
    async def broken() -> None:
        raise RuntimeError

    return other


async def answers_of_every_kind(client: httpx.AsyncClient, acme: Tenant) -> dict[str, httpx.Response]:
    token = acme.user.headers
    stream = {"content": "Hello", "stream": True}
    return {
        "200": await client.get("/messages", headers=token),
        "201": await client.post("/messages", json={"content": "Hello"}, headers=token),
        "200 stream": await client.post("/messages", json=stream, headers=token),
        "204": await client.delete(f"/messages/{(await send(client, acme.user))['id']}", headers=token),
        "401": await client.get("/messages"),
        "404": await client.get("/nowhere"),
        "405": await client.delete("/messages"),
        "413": await client.post("/messages", content=b"x" * 2_000_000, headers=token),
        "422": await client.post("/login", json={}),
        "431": await client.get("/me", headers={"X-Padding": "x" * 70_000}),
        "500": await client.get("/broken"),
        "200 schema": await client.get("/openapi.json"),
    }


async def test_every_answer_carries_the_security_headers_once(settings: Settings, app: FastAPI, acme: Tenant) -> None:
    async with client_of(variant(settings, app)) as client:
        answers = await answers_of_every_kind(client, acme)
    for kind, answer in answers.items():
        assert str(answer.status_code) == kind[:3]
        assert {name: answer.headers.get_list(name) for name in SECURITY} == {
            name: [value] for name, value in SECURITY.items()
        }, kind
        assert len(answer.headers.get_list("x-request-id")) == 1
        assert "strict-transport-security" not in answer.headers
    assert answers["200 stream"].headers["content-type"].startswith("text/event-stream")


async def test_production_asks_for_tls(settings: Settings, app: FastAPI, acme: Tenant) -> None:
    async with client_of(variant(settings, app, environment="production")) as client:
        for answer in (await answers_of_every_kind(client, acme)).values():
            assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_an_untrusted_host_is_refused_before_all_else(settings: Settings, app: FastAPI, acme: Tenant) -> None:
    async with client_of(variant(settings, app, trusted_hosts=["api.example.com"])) as client:
        for path in ("/me", "/nowhere", "/docs", "/static-offline-docs/favicon.png"):
            answer = await client.get(path, headers={**acme.user.headers, "Host": "evil.example"})
            problem = assert_problem(answer, 400)
            assert problem["type"] == "urn:llm-saas:problem:untrusted-host"
            assert problem["detail"] == "The Host header does not name this service."
            assert "evil" not in answer.text
        served = await client.get("/me", headers={**acme.user.headers, "Host": "api.example.com:8000"})
    assert served.status_code == 200


async def test_a_request_without_a_host_is_refused(settings: Settings, app: FastAPI) -> None:
    async with client_of(variant(settings, app, trusted_hosts=["api.example.com"])) as client:
        request = client.build_request("GET", "/me")
        del request.headers["host"]
        assert_problem(await client.send(request), 400)


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_probes_may_use_any_address(settings: Settings, app: FastAPI, path: str) -> None:
    async with client_of(variant(settings, app, trusted_hosts=["api.example.com"])) as client:
        assert (await client.get(path, headers={"Host": "10.1.2.3:8000"})).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_a_page_may_run_its_own_script_and_no_other(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    [policy] = answer.headers.get_list("content-security-policy")
    directives = {name: sources for name, _, sources in (part.partition(" ") for part in policy.split("; "))}

    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in directives["script-src"]
    assert directives["connect-src"] == "'self'"
    assert "http" not in policy
    assert len(re.findall("'sha256-", directives["script-src"])) == answer.text.count("<script>")
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"


async def test_the_packaged_files_are_kept_and_asked_about(client: httpx.AsyncClient) -> None:
    path = "/static-offline-docs/swagger-ui.css"
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (first.status_code, again.status_code) == (200, 304)
    assert again.headers["x-content-type-options"] == "nosniff"


async def test_the_server_does_not_say_what_it_is(database_url: URL, tmp_path: Path) -> None:
    url = database_url.render_as_string(hide_password=False)
    async with running(tmp_path, database_url=url) as server, server.client() as client:
        assert "server" not in (await client.get("/health")).headers
