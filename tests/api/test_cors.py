"""CORS: a listed origin may call everything and read every answer; another one learns nothing."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from app.application import create_app
from app.core.config import Settings
from tests.api.problems import assert_problem
from tests.api.test_headers import answers_of_every_kind, variant
from tests.conftest import client_of
from tests.helpers import Tenant

ORIGIN = "https://app.example"
UNLISTED = ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null", "*", ""]


@pytest.fixture
def with_cors(settings: Settings, app: FastAPI) -> FastAPI:
    return variant(settings, app, cors_origins=[ORIGIN])


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


def operations() -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and headers of all that the API describes."""
    for path, item in create_app().openapi()["paths"].items():
        for method, operation in item.items():
            names = [field["name"] for field in operation.get("parameters", []) if field["in"] == "header"]
            yield method.upper(), path.replace("{id}", "x"), names


async def test_the_preflight_allows_every_method_and_header_that_the_api_uses(with_cors: FastAPI) -> None:
    asked = list(operations())
    assert {method for method, _, _ in asked} >= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    async with client_of(with_cors) as client:
        for method, path, names in asked:
            headers = ",".join(
                name.lower()
                for name in ["authorization", "content-type", "traceparent", "baggage", "x-request-id", *names]
            )
            preflight = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
            answer = await client.options(path, headers={"Origin": ORIGIN, **preflight})
            assert answer.status_code == 200, (method, path, answer.text)
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_listed_origin_can_read_every_answer_and_what_clients_need(with_cors: FastAPI, acme: Tenant) -> None:
    async with client_of(with_cors) as client:
        client.headers["Origin"] = ORIGIN
        answers = await answers_of_every_kind(client, acme)
    for kind, answer in answers.items():
        assert answer.headers.get_list("access-control-allow-origin") == [ORIGIN], kind
        assert "Origin" in answer.headers["vary"]
        assert {"Link", "Location", "Retry-After", "X-Request-ID"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )


async def test_a_listed_origin_can_read_that_there_are_too_many(with_cors: FastAPI, acme: Tenant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(with_cors.state.container.engine, "_running_per_tenant", 0)
        async with client_of(with_cors) as client:
            headers = {**acme.user.headers, "Origin": ORIGIN}
            answer = await client.post("/messages", json={"content": "Hello"}, headers=headers)
    assert_problem(answer, 429)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("origin", UNLISTED)
async def test_an_unlisted_origin_gets_no_cors_header(with_cors: FastAPI, acme: Tenant, origin: str) -> None:
    async with client_of(with_cors) as client:
        client.headers["Origin"] = origin
        answers = await answers_of_every_kind(client, acme)
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answers["preflight"] = await client.options("/messages", headers=asked)
    assert [kind for kind, answer in answers.items() if cors_of(answer)] == []
    assert (answers["preflight"].status_code, answers["preflight"].content) == (204, b"")
    assert "Origin" in answers["200"].headers["vary"]


async def test_no_origin_is_allowed_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"Origin": ORIGIN})
    assert not cors_of(answer)


@pytest.mark.parametrize("origins", [["*"], [ORIGIN], ["*", ORIGIN]])
async def test_credentials_are_never_allowed(
    settings: Settings, app: FastAPI, acme: Tenant, origins: list[str]
) -> None:
    async with client_of(variant(settings, app, cors_origins=origins)) as client:
        client.headers.update({"Origin": ORIGIN, "Cookie": "session=1"})
        answers = await answers_of_every_kind(client, acme)
        answers["preflight"] = await client.options("/me", headers={"Access-Control-Request-Method": "GET"})
    for kind, answer in answers.items():
        assert answer.headers["access-control-allow-origin"] in {"*", ORIGIN}, kind
        assert "access-control-allow-credentials" not in answer.headers, kind
