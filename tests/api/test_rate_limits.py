"""Rate limits as a client meets them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.application import create_app, lifespan
from app.core.config import Settings
from app.core.rate_limits import memory
from tests.api.problems import assert_problem
from tests.api.test_api_keys import make_key
from tests.helpers import PASSWORD, Tenant, unique_email
from tests.sessions import status_of
from tests.statements import statements

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
async def test_failed_logins_of_an_account_from_an_address_count_and_right_ones_do_not(
    limited: Limited, acme: Tenant, path: str
) -> None:
    email = acme.user.email
    async with limited(rate_limit_login="2/minute") as app, client_at(app) as client:

        async def attempt(email: str, password: str) -> httpx.Response:
            if path == "/login":
                return await log_in(client, email, password)
            return await client.post(path, data={"username": email, "password": password})

        right = [(await attempt(email, PASSWORD)).status_code for _ in range(5)]
        wrong = [(await attempt(spelling, "wrong")).status_code for spelling in (email.upper(), f" {email}")]
        refused = await attempt(email, PASSWORD)
        other = await attempt(acme.admin.email, PASSWORD)

    assert right == [200] * 5
    assert wrong == [401 if path == "/login" else 400] * 2
    assert_problem(refused, 429)
    assert refused.headers["ratelimit-policy"] == '"login";q=2;w=60'
    assert other.status_code == 200


async def test_wrong_logins_from_an_address_keep_nobody_out_elsewhere(limited: Limited, acme: Tenant) -> None:
    async with limited() as app, client_at(app) as attacker, client_at(app, "203.0.113.1") as owner:
        wrong = [(await log_in(attacker, acme.user.email, "wrong")).status_code for _ in range(12)]
        change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}!"}
        answers = [
            await log_in(owner, acme.user.email),
            await owner.put("/me/password", json=change, headers=acme.user.headers),
            await log_in(owner, acme.user.email, f"{PASSWORD}!"),
        ]
    assert wrong == [401] * 10 + [429] * 2
    assert [answer.status_code for answer in answers] == [200, 204, 200]


async def test_guesses_from_many_addresses_are_bounded_together(limited: Limited, acme: Tenant) -> None:
    statuses = []
    async with limited(rate_limit_account="5/minute") as app:
        for number in range(8):
            async with client_at(app, f"203.0.113.{number}") as client:
                statuses.append((await log_in(client, acme.user.email, "wrong")).status_code)
        async with client_at(app, "192.0.2.1") as client:
            refused = await log_in(client, acme.user.email)
            other = await log_in(client, acme.admin.email)
    assert statuses == [401] * 5 + [429] * 3
    assert refused.headers["ratelimit-policy"] == '"account";q=5;w=60'
    assert other.status_code == 200


async def test_of_guesses_at_once_no_more_than_the_limit_are_looked_at(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_login="3/minute") as app, client_at(app) as client:
        answers = await asyncio.gather(*(log_in(client, acme.user.email, "wrong") for _ in range(9)))
    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 6


async def test_wrong_present_passwords_count_within_their_session(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_login="2/minute") as app, client_at(app) as client:

        async def change(headers: dict[str, str], current: str) -> int:
            body = {"current_password": current, "new_password": f"{PASSWORD}!"}
            return (await client.put("/me/password", json=body, headers=headers)).status_code

        thief = [await change(acme.user.headers, "wrong") for _ in range(3)]
        again = await log_in(client, acme.user.email)
        mine = {"Authorization": f"Bearer {again.json()['access_token']}"}
        owner = await change(mine, PASSWORD)
    assert thief == [403, 403, 429]
    assert again.status_code == 200
    assert owner == 204


async def test_ended_credentials_cost_their_tenant_nothing_and_the_database_one_look(
    limited: Limited, client: httpx.AsyncClient, acme: Tenant
) -> None:
    key = await make_key(client, acme.user, ["messages:read"])
    async with limited(rate_limit_tenant="4/minute", rate_limit_user="3/minute") as app, client_at(app) as here:
        ended = [acme.user.token, key["key"]]
        assert [await status_of(here, credential) for credential in ended] == [200, 200]
        await client.delete(f"/admin/users/{acme.user.id}", headers=acme.admin.headers)
        first = [await status_of(here, credential) for credential in ended]
        with statements() as seen:
            more = [await status_of(here, credential) for credential in ended * 10]
        async with client_at(app, "203.0.113.1") as elsewhere:
            others = [await elsewhere.get("/me", headers=acme.admin.headers) for _ in range(3)]

    assert first == [401, 401]
    assert more == [401] * 20
    assert seen == []
    assert [answer.status_code for answer in others] == [200, 200, 429], "two of the four were the user's, while it was"


async def test_who_sends_refused_credentials_pays_by_address(limited: Limited, acme: Tenant) -> None:
    async with limited(rate_limit_address="3/minute") as app, client_at(app) as client:
        statuses = [await status_of(client, f"made.up.{number}") for number in range(5)]
        same_address = await client.get("/me", headers=acme.user.headers)
        login = await log_in(client, acme.user.email)
        async with client_at(app, "203.0.113.1") as elsewhere:
            other = await status_of(elsewhere, "made.up.6")
    assert statuses == [401] * 3 + [429] * 2
    assert same_address.status_code == 200, "a good credential is no matter of its address"
    assert login.status_code == 200, "nor a login"
    assert other == 401


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
