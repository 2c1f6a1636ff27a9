import asyncio

import asyncpg
import bcrypt
import httpx
import pytest

from app.core.ids import is_id, new_id
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import PASSWORD, Tenant, log_in, unique_email


async def test_registration_makes_a_user_of_the_tenant(client: httpx.AsyncClient, acme: Tenant) -> None:
    email = unique_email()
    answer = await client.post("/register", json={"email": email, "password": PASSWORD, "tenant_id": acme.id})

    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"id", "email", "role", "tenant_id", "disabled_at", "created_at"}
    assert (body["email"], body["role"], body["tenant_id"]) == (email, "user", acme.id)
    assert is_id(body["id"])
    assert body["id"][14] == "7"
    assert body["created_at"].endswith("Z")


@pytest.mark.parametrize("tenant_id", ["01a20abe-50bf-7145-887a-afc9bd16364e", "3f7c1234-...", "x", "A" * 36])
async def test_registration_in_no_tenant_is_404_alike(client: httpx.AsyncClient, tenant_id: str) -> None:
    answer = await client.post(
        "/register", json={"email": unique_email(), "password": PASSWORD, "tenant_id": tenant_id}
    )
    problem = assert_problem(answer, 404)
    assert problem["type"] == "urn:llm-saas:problem:tenant-not-found"


async def test_an_email_is_taken_in_every_spelling_and_every_tenant(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    local = f"Straße.{new_id()}"
    body = {"email": f"{local}@acme.com", "password": PASSWORD, "tenant_id": acme.id}
    assert (await client.post("/register", json=body)).status_code == 201

    wide = "\uff33" + local[1:]  # fullwidth S
    for spelling in (local.upper(), local.casefold(), wide):
        for tenant in (acme, rival):
            email = f"{spelling}@ACME.com"
            answer = await client.post("/register", json={**body, "email": email, "tenant_id": tenant.id})
            assert_problem(answer, 409)
    assert (await log_in(client, f"{local.upper()}@acme.com")).tenant_id == acme.id


async def test_of_many_registrations_at_once_one_wins(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    body = {"email": unique_email(), "password": PASSWORD, "tenant_id": acme.id}
    answers = await asyncio.gather(*(client.post("/register", json=body) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert await superuser.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"]) == 1


async def test_login_answers_with_a_token_and_the_user(client: httpx.AsyncClient, acme: Tenant) -> None:
    answer = await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("bearer", 3600)
    assert body["user"]["id"] == acme.user.id
    assert "hashed" not in answer.text
    me = await client.get("/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json() == body["user"]


async def test_the_form_of_oauth2_logs_in(client: httpx.AsyncClient, acme: Tenant) -> None:
    form = {"grant_type": "password", "username": acme.user.email, "password": PASSWORD}
    answer = await client.post("/token", data=form)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"password": "wrong"}, "invalid_grant"),
        ({"username": "nobody@acme.com"}, "invalid_grant"),
        ({"username": "no address"}, "invalid_grant"),
        ({"password": "x" * 5000}, "invalid_grant"),
        ({"username": None}, "invalid_request"),
        ({"password": None}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ],
)
async def test_the_form_of_oauth2_is_refused_in_its_own_words(
    client: httpx.AsyncClient, acme: Tenant, change: dict[str, str | None], error: str
) -> None:
    form = {"grant_type": "password", "username": acme.user.email, "password": PASSWORD, **change}
    answer = await client.post("/token", data={name: value for name, value in form.items() if value is not None})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert "www-authenticate" not in answer.headers
    assert answer.json().keys() == {"error", "error_description"}
    assert answer.json()["error"] == error


async def test_an_unknown_email_and_a_wrong_password_give_the_same_bytes(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    wrong = await client.post("/login", json={"email": acme.user.email, "password": "wrong"})
    unknown = await client.post("/login", json={"email": unique_email(), "password": "wrong"})
    nonsense = await client.post("/login", json={"email": "no address", "password": ""})

    assert_problem(wrong, 401)
    assert without_request_id(wrong) == without_request_id(unknown) == without_request_id(nonsense)


async def test_passwords_over_72_bytes_count_to_their_end(client: httpx.AsyncClient, acme: Tenant) -> None:
    email, password = unique_email(), "ü" * 100 + "end"
    body = {"email": email, "password": password, "tenant_id": acme.id}
    assert (await client.post("/register", json=body)).status_code == 201

    await log_in(client, email, password)
    almost = await client.post("/login", json={"email": email, "password": "ü" * 100 + "END"})
    assert_problem(almost, 401)


async def test_a_plain_bcrypt_hash_is_upgraded_at_login(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await superuser.execute("UPDATE users SET hashed_password = $1 WHERE id = $2", old, acme.user.id)

    await log_in(client, acme.user.email)

    new = await superuser.fetchval("SELECT hashed_password FROM users WHERE id = $1", acme.user.id)
    assert new.startswith("$bcrypt-sha256$")
    await log_in(client, acme.user.email)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "token", "Bearer \xff\xfe", "Bearer " + "x" * 5000],
)
async def test_without_a_usable_token_every_authenticated_route_is_401(
    client: httpx.AsyncClient, acme: Tenant, header: str | None
) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header is not None else {}
    for method, path in (
        ("GET", "/me"),
        ("GET", "/messages"),
        ("POST", "/messages"),
        ("POST", "/admin/users"),
        ("GET", f"/tenants/{acme.id}/users"),
    ):
        assert_problem(await client.request(method, path, headers=headers), 401)
