"""Bad input gets a clear problem, is not repeated, and leaves nothing behind."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.problems import MARKER, assert_problem
from tests.helpers import PASSWORD, Tenant, unique_email

JSON = {"Content-Type": "application/json"}
HOSTILE_STRINGS = {
    "nul": f"{MARKER}\\u0000",
    "lone surrogate": f"{MARKER}\\ud800",
    "reversed surrogates": f"{MARKER}\\udc00\\ud800",
}
CREATING = ["/create-tenant", "/register", "/admin/users", "/messages"]


def good_body(path: str, tenant: Tenant) -> dict[str, Any]:
    user = {"email": unique_email(), "password": PASSWORD}
    return {
        "/create-tenant": {"name": unique_email("Tenant")},
        "/register": {**user, "tenant_id": tenant.id},
        "/admin/users": {**user, "role": "user"},
        "/messages": {"content": "Hello"},
        "/login": {"email": tenant.user.email, "password": PASSWORD},
    }[path]


@pytest.mark.parametrize("string", HOSTILE_STRINGS.values(), ids=HOSTILE_STRINGS)
@pytest.mark.parametrize(
    "body",
    [
        ("/create-tenant", '{"name": "%s"}'),
        ("/create-tenant", '{"name": "x", "admin": {"email": "a@acme.com", "password": "%s12345678"}}'),
        ("/register", '{"email": "%s@acme.com", "password": "12345678", "tenant_id": "x"}'),
        ("/register", '{"email": "a@acme.com", "password": "12345678%s", "tenant_id": "x"}'),
        ("/login", '{"email": "%s", "password": "x"}'),
        ("/login", '{"email": "x", "password": "%s"}'),
        ("/messages", '{"content": "%s"}'),
    ],
    ids=lambda body: f"{body[0]} {body[1][:30]}",
)
async def test_text_that_cannot_be_stored(
    client: httpx.AsyncClient, acme: Tenant, body: tuple[str, str], string: str
) -> None:
    path, template = body
    answer = await client.post(path, content=template % string, headers={**JSON, **acme.admin.headers})
    assert_problem(answer, 422)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b'{"content": NaN}',
        b'{"content": Infinity}',
        b'{"content": 1e999}',
        b'{"content": ' + b"9" * 10_000 + b"}",
        b'{"content": "' + b"x" * 100_001 + b'"}',
        b'{"content": {"' + MARKER.encode() + b'": 1}}',
        b'{"content": "\xff\xfe"}',
        b"\xff\xfe\x00",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"content": "x", "' + MARKER.encode() + b'!": 1}',
    ],
    ids=lambda content: repr(content[:24]),
)
async def test_bodies_that_are_not_what_was_asked_for(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, content: bytes
) -> None:
    answer = await client.post("/messages", content=content, headers={**JSON, **acme.user.headers})

    assert_problem(answer, 400, 422)
    assert await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", acme.id) == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data", "x", ""])
async def test_other_content_types(client: httpx.AsyncClient, acme: Tenant, content_type: str) -> None:
    answer = await client.post(
        "/messages", content=b'{"content": "x"}', headers={"Content-Type": content_type, **acme.user.headers}
    )
    assert_problem(answer, 400, 415, 422)


@pytest.mark.parametrize("content", [b"", b"username=x", b"username=%00&password=%00", b"%ff=%ff", b"a" * 9000])
async def test_hostile_forms(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post("/token", content=content, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize(
    "query",
    [
        "skip=-1",
        f"skip={2**63}",
        f"skip={'9' * 5000}",
        "skip=1.5",
        "skip=NaN",
        f"skip={MARKER}",
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=%00",
        "cursor=%00",
        f"cursor={MARKER}",
        f"cursor={'a' * 500}",
        "cursor=%ff%fe",
    ],
    ids=lambda query: query[:20],
)
@pytest.mark.parametrize("path", ["/messages", "/tenants/{id}/users"])
async def test_hostile_paging(client: httpx.AsyncClient, acme: Tenant, path: str, query: str) -> None:
    answer = await client.get(f"{path.format(id=acme.id)}?{query}", headers=acme.admin.headers)
    assert_problem(answer, 422)


async def test_unknown_query_parameters_have_no_effect(client: httpx.AsyncClient, acme: Tenant) -> None:
    plain = await client.get("/messages", headers=acme.user.headers)
    decorated = await client.get("/messages?role=admin&tenant_id=x&%00=1", headers=acme.user.headers)
    assert decorated.status_code == 200
    assert decorated.json() == plain.json()


@pytest.mark.parametrize("field", ["id", "tenant_id", "role", "status", "user_id", "hashed_password"])
@pytest.mark.parametrize("path", CREATING)
async def test_fields_that_a_body_does_not_have_are_refused(
    client: httpx.AsyncClient, acme: Tenant, path: str, field: str
) -> None:
    body = good_body(path, acme)
    if field in body:
        return
    answer = await client.post(path, json={**body, field: MARKER}, headers=acme.admin.headers)
    problem = assert_problem(answer, 422)
    assert problem["errors"] == [
        {"loc": ["body", field], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
    ]
    if path != "/messages" and "email" in body:  # nothing half-stored: the same body without the field works
        assert (await client.post(path, json=body, headers=acme.admin.headers)).status_code == 201


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (MARKER, PASSWORD),
        (f"{MARKER}@", PASSWORD),
        (f"{MARKER}@localhost", PASSWORD),
        (f"{MARKER} <a@acme.com>", PASSWORD),
        (f"a@{MARKER}..com", PASSWORD),
        (f"a@{'b' * 400}.com", PASSWORD),
        ("", PASSWORD),
        ("a@acme.com", MARKER[:7]),
        ("a@acme.com", "x" * 4097),
        ("a@acme.com", ""),
    ],
)
async def test_unusable_credentials(client: httpx.AsyncClient, acme: Tenant, email: str, password: str) -> None:
    body = {"email": email, "password": password, "tenant_id": acme.id}
    problem = assert_problem(await client.post("/register", json=body), 422)
    assert problem["errors"]
    if len(password) > 2:
        assert password not in str(problem)


@pytest.mark.parametrize("name", ["", "   ", "x" * 256, 5, None, ["x"]])
async def test_unusable_tenant_names(client: httpx.AsyncClient, name: Any) -> None:
    assert_problem(await client.post("/create-tenant", json={"name": name}), 422)


async def test_a_large_body_is_refused_by_its_length_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    answer = await client.post("/messages", content=b"x" * 50_000_000, headers={**JSON, **acme.user.headers})
    assert_problem(answer, 413)


async def test_a_large_body_of_unknown_length_is_refused_before_it_is_read(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(800):
            sent += 1
            yield b"x" * 65536

    answer = await client.post("/messages", content=chunks(), headers={**JSON, **acme.user.headers})

    assert_problem(answer, 413)
    assert sent * 65536 < 2 * 1024 * 1024 + 65536


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{MARKER}", 404),
        ("GET", "/tenants//users", 404),
        ("GET", "/%00", 404),
        ("GET", "/%ff%fe", 404),
        ("DELETE", "/messages", 405),
        ("PATCH", "/me", 405),
        ("GET", "/login", 405),
        ("BREW", "/messages", 405),
    ],
)
async def test_paths_and_methods_that_are_not_there(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert_problem(await client.request(method, path), status)


async def test_headers_beyond_reason(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/me", headers={"X-Padding": "x" * 70_000}), 431)


@pytest.mark.parametrize("sane", ["abc-123", "a.b_c:d", "x" * 128])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, sane: str) -> None:
    assert (await client.get("/health", headers={"X-Request-ID": sane})).headers["x-request-id"] == sane


@pytest.mark.parametrize("odd", ["", "x" * 129, 'a"b', "a b", "<script>"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, odd: str) -> None:
    given = (await client.get("/health", headers={"X-Request-ID": odd})).headers["x-request-id"]
    assert given != odd
    assert len(given) == 36
