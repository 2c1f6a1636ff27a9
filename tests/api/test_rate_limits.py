"""Rate limits as a client meets them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.rate_limits import memory
from main import create_app, lifespan
from tests.api.problems import assert_problem
from tests.helpers import PASSWORD, Tenant, unique_email

Limited = Callable[..., AbstractAsyncContextManager[FastAPI]]
OPEN = ("/create-tenant", "/register", "/login", "/token")


@pytest.fixture
def limited(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Limited:
    """The service with limits, and with a clock that stands still."""
    monkeypatch.setattr(memory, "monotonic", lambda: 1000.0)

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[FastAPI]:
        app = create_app(settings.model_copy(update={"rate_limit_enabled": True, "db_pool_size": 2, **changes}))
        async with lifespan(app):
            yield app

    return start


def client_at(app: FastAPI, address: str = "198.51.100.7") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://test")


async def log_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    return await client.post("/login", json={"email": email, "password": password}, headers=headers)


async def test_every_answer_says_what_is_left_and_a_refusal_when_to_come_back(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_user="2/minute") as app, client_at(app) as client:
        answers = [await client.get("/me", headers=acme.user.headers) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"user";q=2;w=60'}
    assert [answer.headers["ratelimit"] for answer in answers] == [
        '"user";r=1;t=60',
        '"user";r=0;t=60',
        '"user";r=0;t=60',
    ]
    problem = assert_problem(answers[2], 429)
    assert problem["type"] == "urn:llm-saas:problem:rate-limited"
    assert answers[2].headers["retry-after"] == "60"
    assert "retry-after" not in answers[1].headers


async def test_after_the_window_the_caller_is_served_again(
    limited: Limited, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with limited(rate_limit_user="1/minute") as app, client_at(app) as client:
        await client.get("/me", headers=acme.user.headers)
        monkeypatch.setattr(memory, "monotonic", lambda: 1048.5)
        refused = await client.get("/me", headers=acme.user.headers)
        monkeypatch.setattr(memory, "monotonic", lambda: 1060.0)
        served = await client.get("/me", headers=acme.user.headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "12")
    assert served.status_code == 200


async def test_a_user_at_the_limit_leaves_the_tenants_others_alone(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_user="1/minute") as app, client_at(app) as client:
        statuses = [(await client.get("/me", headers=acme.user.headers)).status_code for _ in range(2)]
        other = await client.get("/me", headers=acme.admin.headers)
    assert statuses == [200, 429]
    assert other.status_code == 200


async def test_a_tenant_at_its_limit_does_not_touch_another(limited: Limited, acme: Tenant, rival: Tenant) -> None:
    async with limited(rate_limit_tenant="2/minute") as app, client_at(app) as client:
        for member in (acme.user, acme.admin):
            assert (await client.get("/me", headers=member.headers)).status_code == 200
        refused = [await client.get("/me", headers=member.headers) for member in (acme.user, acme.admin)]
        untouched = await client.get("/me", headers=rival.user.headers)

    assert [answer.status_code for answer in refused] == [429, 429]
    assert {answer.headers["ratelimit-policy"] for answer in refused} == {'"tenant";q=2;w=60'}
    assert untouched.status_code == 200
    assert untouched.headers["ratelimit"] == '"tenant";r=1;t=60'


async def test_the_open_routes_share_the_limit_of_an_address(limited: Limited) -> None:
    async with limited(rate_limit_address="4/minute") as app, client_at(app) as client:
        served = [await client.post(path) for path in OPEN]
        refused = [await client.post(path) for path in OPEN]
        async with client_at(app, "198.51.100.8") as neighbour:
            other = await neighbour.post("/login")

    assert [answer.status_code for answer in served] == [422, 422, 422, 400]
    assert [answer.headers["ratelimit"] for answer in served] == [f'"address";r={n};t=60' for n in (3, 2, 1, 0)]
    for answer in refused:
        assert_problem(answer, 429)
        assert answer.headers["ratelimit-policy"] == '"address";q=4;w=60'
    assert other.status_code == 422


async def test_an_invented_header_changes_nothing(limited: Limited) -> None:
    async with limited(rate_limit_address="2/minute") as app, client_at(app) as client:
        answers = [await client.post("/login", headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [422, 422, 429]


async def test_behind_a_trusted_proxy_the_clients_are_told_apart(limited: Limited) -> None:
    trusted = [ip_network("10.0.0.0/8")]
    async with (
        limited(rate_limit_address="2/minute", trusted_proxies=trusted) as app,
        client_at(app, "10.0.0.1") as proxy,
        client_at(app, "10.0.0.2") as another,
    ):

        async def statuses(client: httpx.AsyncClient, *forwarded: str) -> list[int]:
            return [(await client.post("/login", headers={"X-Forwarded-For": f})).status_code for f in forwarded]

        assert await statuses(proxy, "192.0.2.1", "192.0.2.2", "192.0.2.1") == [422] * 3
        # Whatever the client wrote itself stands on the left.
        assert await statuses(another, "192.0.2.9, 192.0.2.1", "192.0.2.2, 10.9.9.9") == [429, 422]
        assert await statuses(proxy, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1") == [
            422,
            422,
            429,
            422,
        ]


@pytest.mark.parametrize("path", ["/login", "/token"])
async def test_wrong_and_right_logins_of_an_account_count_alike(limited: Limited, acme: Tenant, path: str) -> None:
    email = acme.user.email
    async with limited(rate_limit_login="3/minute") as app, client_at(app) as client:

        async def attempt(email: str, password: str) -> httpx.Response:
            if path == "/login":
                return await log_in(client, email, password)
            return await client.post(path, data={"username": email, "password": password})

        statuses = [
            (await attempt(*login)).status_code
            for login in ((email, "wrong"), (email.upper(), PASSWORD), (f" {email}", "wrong"))
        ]
        refused = await attempt(email, PASSWORD)
        async with client_at(app, "203.0.113.1") as elsewhere:
            from_elsewhere = await log_in(elsewhere, email)
        other = await attempt(acme.admin.email, PASSWORD)

    wrong = 401 if path == "/login" else 400
    assert statuses == [wrong, 200, wrong]
    assert_problem(refused, 429)
    assert refused.headers["ratelimit-policy"] == '"login";q=3;w=60'
    assert from_elsewhere.status_code == 429
    assert other.status_code == 200


async def test_an_unknown_account_is_refused_in_the_same_bytes(limited: Limited, acme: Tenant) -> None:
    def shown(answer: httpx.Response) -> tuple[bytes, list[tuple[str, str]]]:
        request_id = answer.headers.pop("x-request-id")
        return answer.content.replace(request_id.encode(), b""), sorted(answer.headers.items())

    async with limited(rate_limit_login="1/minute") as app, client_at(app) as client:
        answers = []
        for email in (acme.user.email, unique_email(), "no address", "with\x00nul"):
            form = {"username": email, "password": "wrong"}
            assert (await client.post("/token", data=form)).status_code == 400
            answers.append(await client.post("/token", data=form))

    assert answers[0].status_code == 429
    first, *others = map(shown, answers)
    assert others == [first] * 3


async def test_health_is_never_limited_and_says_where_requests_are_counted(limited: Limited) -> None:
    once = {f"rate_limit_{name}": "1/minute" for name in ("tenant", "user", "key", "address", "login")}
    async with limited(**once) as app, client_at(app) as client:
        for _ in range(3):
            for path in ("/health", "/health/ready"):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers
    assert answer.json()["rate_limits"] == "memory"


async def test_limits_can_be_switched_off(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_enabled=False, rate_limit_user="1/minute") as app, client_at(app) as client:
        answers = [await client.get("/me", headers=acme.user.headers) for _ in range(3)]
        ready = await client.get("/health/ready")
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers
    assert ready.json()["rate_limits"] == "off"


def test_every_counted_operation_describes_its_429() -> None:
    for path, operations in create_app().openapi()["paths"].items():
        for operation in operations.values():
            described = operation["responses"].get("429", {}).get("headers", {}).keys()
            uncounted = path.startswith(("/health", "/.well-known"))
            expected = set() if uncounted else {"Retry-After", "RateLimit", "RateLimit-Policy"}
            assert set(described) == expected, path


async def test_browsers_may_read_the_limits(limited: Limited, acme: Tenant) -> None:
    origin = "https://app.example"
    async with limited(cors_origins=[origin], rate_limit_user="1/minute") as app, client_at(app) as client:
        for _ in range(2):
            answer = await client.get("/me", headers={**acme.user.headers, "Origin": origin})
    assert answer.status_code == 429
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
