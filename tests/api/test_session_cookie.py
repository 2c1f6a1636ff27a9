"""A refresh token in a cookie: for the service's own pages, and for nothing that could imitate them."""

import asyncio
from http.cookies import SimpleCookie

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.api.session_cookie import NAME
from app.core.config import Settings
from tests.api.problems import assert_problem
from tests.api.test_headers import variant
from tests.api.test_refresh import expire_grace
from tests.conftest import client_of
from tests.helpers import PASSWORD, Member, Tenant, join
from tests.sessions import actions_of, rows_of, status_of

FROM_PAGE = {"X-Session": "cookie", "Sec-Fetch-Site": "same-origin"}


async def sign_in(client: httpx.AsyncClient, member: Member, **headers: str) -> httpx.Response:
    body = {"email": member.email, "password": PASSWORD}
    return await client.post("/login", json=body, headers={**FROM_PAGE, **headers})


def cookie_of(answer: httpx.Response) -> str:
    [line] = answer.headers.get_list("set-cookie")
    return SimpleCookie(line)[NAME].value


async def renew(client: httpx.AsyncClient, cookie: str, **headers: str) -> httpx.Response:
    """As a page does it; `client` itself keeps no cookie that is `Secure`."""
    return await client.post("/refresh", headers={**FROM_PAGE, "Cookie": f"{NAME}={cookie}", **headers})


async def test_a_page_gets_the_refresh_token_in_a_cookie_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    answer = await sign_in(client, acme.user)
    assert answer.status_code == 200, answer.text
    token = cookie_of(answer)
    assert token.startswith("llmr_")
    assert token not in answer.text
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_expires_in", "user"}
    assert await status_of(client, answer.json()["access_token"]) == 200
    [line] = answer.headers.get_list("set-cookie")
    _, *attributes = line.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Max-Age=2592000", "Path=/refresh", "SameSite=strict", "Secure"]


async def test_the_cookie_continues_the_session_and_is_replaced(client: httpx.AsyncClient, acme: Tenant) -> None:
    begun = await sign_in(client, acme.user)
    first = await renew(client, cookie_of(begun))
    assert first.status_code == 200, first.text
    assert cookie_of(first) != cookie_of(begun)
    assert "refresh_token" not in first.json()
    assert first.json()["user"] == begun.json()["user"]
    assert (await renew(client, cookie_of(first))).status_code == 200


async def test_tabs_that_renew_at_once_get_the_one_successor(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    member = await join(client, acme.id)
    cookie = cookie_of(await sign_in(client, member))
    answers = await asyncio.gather(*(renew(client, cookie) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({cookie_of(answer) for answer in answers}) == 1
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_a_stolen_cookie_that_is_used_later_ends_the_session(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    member = await join(client, acme.id)
    cookie = cookie_of(await sign_in(client, member))
    newest = cookie_of(await renew(client, cookie))
    await expire_grace(superuser, member.id)
    assert_problem(await renew(client, cookie), 401)
    assert_problem(await renew(client, newest), 401)


@pytest.mark.parametrize("site", [None, "cross-site", "same-site", "none", "Same-Origin", ""])
@pytest.mark.parametrize("path", ["/login", "/refresh", "/logout"])
async def test_a_request_that_is_not_of_our_own_page_gets_no_cookie_and_uses_none(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, path: str, site: str | None
) -> None:
    begun = await sign_in(client, acme.user)
    cookie, access = cookie_of(begun), begun.json()["access_token"]
    before = len(await rows_of(superuser, acme.user.id))
    headers = {"X-Session": "cookie", "Cookie": f"{NAME}={cookie}"}
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    if path == "/logout":
        headers["Authorization"] = f"Bearer {access}"
    body = {"email": acme.user.email, "password": PASSWORD} if path == "/login" else None
    answer = await client.post(path, json=body, headers=headers)
    problem = assert_problem(answer, 403)
    assert problem["type"] == "urn:llm-saas:problem:cookie-refused"
    assert "https" in problem["detail"]
    assert "set-cookie" not in answer.headers
    assert len(await rows_of(superuser, acme.user.id)) == before, "no session was begun or ended"
    assert (await renew(client, cookie)).status_code == 200, "the token was not used up"


async def test_without_the_header_nothing_of_a_cookie_is_seen(client: httpx.AsyncClient, acme: Tenant) -> None:
    """What a form of another site can send: the cookie, if it came along at all, is as good as not there."""
    cookie = cookie_of(await sign_in(client, acme.user))
    forged = {"Sec-Fetch-Site": "same-origin", "Cookie": f"{NAME}={cookie}"}
    for body in (None, {}):
        assert_problem(await client.post("/refresh", json=body, headers=forged), 422)
    login = await client.post("/login", json={"email": acme.user.email, "password": PASSWORD}, headers=forged)
    assert "set-cookie" not in login.headers
    assert login.json()["refresh_token"]
    begun = await client.post("/refresh", json={"refresh_token": login.json()["refresh_token"]}, headers=forged)
    assert "set-cookie" not in begun.headers
    assert begun.json()["refresh_token"]


@pytest.mark.parametrize("cookies", ["", "other=1", f"{NAME}=", f"{NAME}=nothing", f"{NAME}=a; {NAME}=b"])
async def test_without_one_good_cookie_there_is_no_session(client: httpx.AsyncClient, cookies: str) -> None:
    answer = await client.post("/refresh", headers={**FROM_PAGE, "Cookie": cookies})
    assert_problem(answer, 401)
    assert "set-cookie" not in answer.headers


async def test_of_two_cookies_neither_is_taken(client: httpx.AsyncClient, acme: Tenant) -> None:
    """A host beside this one can plant its own for the whole domain, and so sign somebody in as another."""
    theirs, planted = cookie_of(await sign_in(client, acme.user)), cookie_of(await sign_in(client, acme.admin))
    both = await client.post("/refresh", headers={**FROM_PAGE, "Cookie": f"{NAME}={planted}; {NAME}={theirs}"})
    assert_problem(both, 401)
    assert (await renew(client, theirs)).json()["user"]["id"] == acme.user.id


async def test_the_body_of_a_page_is_not_read_for_a_token(client: httpx.AsyncClient, acme: Tenant) -> None:
    cookie = cookie_of(await sign_in(client, acme.user))
    answer = await client.post("/refresh", json={"refresh_token": cookie}, headers=FROM_PAGE)
    assert_problem(answer, 401)


@pytest.mark.parametrize("everywhere", [False, True])
async def test_signing_out_ends_the_session_and_takes_the_cookie_away(
    client: httpx.AsyncClient, acme: Tenant, everywhere: bool
) -> None:
    member = await join(client, acme.id)
    other, own = await sign_in(client, member), await sign_in(client, member)
    headers = {**FROM_PAGE, "Authorization": f"Bearer {own.json()['access_token']}"}
    answer = await client.post("/logout", json={"everywhere": everywhere}, headers=headers)
    assert answer.status_code == 204
    assert cookie_of(answer) == ""
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "Path=/refresh" in answer.headers["set-cookie"]
    assert_problem(await renew(client, cookie_of(own)), 401)
    assert (await renew(client, cookie_of(other))).status_code == (401 if everywhere else 200)


async def test_signing_out_without_a_page_sets_no_cookie(client: httpx.AsyncClient, acme: Tenant) -> None:
    member = await join(client, acme.id)
    answer = await client.post("/logout", headers=member.headers)
    assert answer.status_code == 204
    assert "set-cookie" not in answer.headers


async def test_behind_a_prefix_the_cookie_is_for_the_path_that_browsers_see(app: FastAPI, acme: Tenant) -> None:
    transport = httpx.ASGITransport(app, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api") as client:
        assert "Path=/api/refresh;" in (await sign_in(client, acme.user)).headers["set-cookie"]


async def test_origins_that_may_call_may_not_use_the_cookie(settings: Settings, app: FastAPI, acme: Tenant) -> None:
    origin = "https://app.example.com"
    async with client_of(variant(settings, app, cors_origins=[origin])) as client:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/refresh", headers={**asked, "Access-Control-Request-Headers": "x-session"})
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in preflight.headers
        refused = await sign_in(client, acme.user, **{"Origin": origin, "Sec-Fetch-Site": "same-site"})
        assert_problem(refused, 403)
        assert "access-control-allow-credentials" not in refused.headers
