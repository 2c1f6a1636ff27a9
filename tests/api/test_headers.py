"""Host, Link and CORS."""

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from main import create_app
from tests.api.problems import assert_problem
from tests.conftest import client_of
from tests.helpers import Tenant, send

ORIGIN = "https://app.example"


@pytest.mark.parametrize("host", ["[", "evil.example", "a b", "", "x:99999999"])
async def test_a_hostile_host_header_changes_nothing(client: httpx.AsyncClient, acme: Tenant, host: str) -> None:
    for _ in range(2):
        await send(client, acme.user)
    answer = await client.get("/messages?limit=1&tenant_id=x", headers={**acme.user.headers, "Host": host})
    assert answer.status_code == 200
    assert answer.headers["link"].startswith("</messages?limit=1&cursor=")
    assert answer.headers["link"].endswith('>; rel="next"')
    assert_problem(await client.get("/messages/", headers={**acme.user.headers, "Host": host}), 404)


@pytest.fixture
def with_cors(settings: Settings, app: FastAPI) -> FastAPI:
    cors = create_app(settings.model_copy(update={"cors_origins": [ORIGIN]}))
    cors.state.container = app.state.container
    return cors


async def test_a_listed_origin_may_call_and_read_what_clients_need(with_cors: FastAPI, acme: Tenant) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "authorization,content-type"
    async with client_of(with_cors) as client:
        allowed = await client.options("/messages", headers=preflight)
        answer = await client.get("/me", headers={**acme.user.headers, "Origin": ORIGIN})
        refused = await client.options("/messages", headers={**preflight, "Origin": "https://evil.example"})

    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


async def test_no_origin_is_allowed_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control")]
