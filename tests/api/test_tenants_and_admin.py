import asyncio

import asyncpg
import httpx

from tests.api.problems import assert_problem
from tests.helpers import PASSWORD, Member, Tenant, log_in, send, unique_email


async def test_a_tenant_alone_has_an_id_a_name_and_a_time(client: httpx.AsyncClient) -> None:
    name = unique_email("Tenant")
    answer = await client.post("/create-tenant", json={"name": f"  {name} "})

    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"id", "name", "created_at"}
    assert body["name"] == name


async def test_a_tenant_with_an_admin_can_be_used_at_once(client: httpx.AsyncClient) -> None:
    email = unique_email("Admin")
    answer = await client.post(
        "/create-tenant", json={"name": unique_email(), "admin": {"email": email, "password": PASSWORD}}
    )

    assert answer.status_code == 201
    body = answer.json()
    assert (body["admin"]["role"], body["admin"]["tenant_id"]) == ("admin", body["id"])
    admin = await log_in(client, email)
    users = await client.get(f"/tenants/{body['id']}/users", headers=admin.headers)
    assert users.json() == [{**body["admin"], "disabled_at": None}]


async def test_a_taken_name_is_a_conflict(client: httpx.AsyncClient, acme: Tenant) -> None:
    assert_problem(await client.post("/create-tenant", json={"name": acme.name}), 409)


async def test_a_taken_admin_leaves_no_tenant_behind(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    name = unique_email("Tenant")
    answer = await client.post(
        "/create-tenant", json={"name": name, "admin": {"email": acme.user.email, "password": PASSWORD}}
    )
    assert_problem(answer, 409)
    assert await superuser.fetchval("SELECT count(*) FROM tenants WHERE name = $1", name) == 0


async def test_of_many_tenants_of_one_name_at_once_one_wins(client: httpx.AsyncClient) -> None:
    body = {"name": unique_email("Tenant")}
    answers = await asyncio.gather(*(client.post("/create-tenant", json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_an_admin_creates_users_of_both_roles(client: httpx.AsyncClient, acme: Tenant) -> None:
    for role in ("admin", "user"):
        body = {"email": unique_email(), "password": PASSWORD, "role": role}
        answer = await client.post("/admin/users", json=body, headers=acme.admin.headers)
        assert answer.status_code == 201
        assert (answer.json()["role"], answer.json()["tenant_id"]) == (role, acme.id)
        await log_in(client, body["email"])
        assert_problem(await client.post("/admin/users", json=body, headers=acme.admin.headers), 409)


async def test_a_user_is_no_admin(client: httpx.AsyncClient, acme: Tenant) -> None:
    body = {"email": unique_email(), "password": PASSWORD, "role": "admin"}
    assert_problem(await client.post("/admin/users", json=body, headers=acme.user.headers), 403)
    assert_problem(await client.get(f"/tenants/{acme.id}/users", headers=acme.user.headers), 403)


async def test_an_unknown_role_is_bad_input(client: httpx.AsyncClient, acme: Tenant) -> None:
    body = {"email": unique_email(), "password": PASSWORD, "role": "root"}
    assert_problem(await client.post("/admin/users", json=body, headers=acme.admin.headers), 422)


async def test_users_are_listed_newest_first_and_paged(client: httpx.AsyncClient, acme: Tenant) -> None:
    path = f"/tenants/{acme.id}/users"
    everyone = (await client.get(path, headers=acme.admin.headers)).json()
    assert [row["id"] for row in everyone] == [acme.user.id, acme.admin.id]
    assert all(row.keys() == {"id", "email", "role", "tenant_id", "disabled_at", "created_at"} for row in everyone)

    first = await client.get(f"{path}?limit=1", headers=acme.admin.headers)
    second = await client.get(first.links["next"]["url"], headers=acme.admin.headers)
    assert first.json() + second.json() == everyone
    assert "next" not in second.links


async def test_liveness_asks_nothing_and_readiness_names_the_provider(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    ready = await client.get("/health/ready")
    assert ready.json() == {
        "status": "ready",
        "database": "ok",
        "replica": "none",
        "row_level_security": "active",
        "llm_provider": "mock",
        "rate_limits": "off",
        "cache": "off",
        "background": dict.fromkeys(("leases", "deltas", "notifications", "reader_wakeups", "audit_tally"), "running"),
    }


async def test_the_docs_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "//" not in page.replace("// `SwaggerUIBundle`", "").replace("<!-- ", "")
    assert (await client.get("/static-offline-docs/swagger-ui-bundle.js")).status_code == 200


async def test_authorize_takes_a_login_or_a_credential_as_it_is(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    schemes = schema["components"]["securitySchemes"]
    assert schemes["BearerToken"]["type"] == "oauth2"
    pasted = schemes["AccessTokenOrApiKey"]
    assert (pasted["type"], pasted["scheme"]) == ("http", "bearer")
    assert schema["paths"]["/me"]["get"]["security"] == [{"BearerToken": []}, {"AccessTokenOrApiKey": []}]


async def test_someone_deleted_demoted_or_logged_out_in_the_database_is_out_at_the_next_request(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    schema = (await client.get("/openapi.json")).json()
    guarded = [
        (method, path)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    ]
    assert len(guarded) >= 5
    new_user = {"email": unique_email(), "password": PASSWORD}
    bodies: dict[str, object] = {"/messages": {"content": "x"}, "/admin/users": new_user}
    bodies |= {path: {"title": "x"} for path in ("/conversations", "/conversations/{id}")}
    bodies |= {"/me/password": {"current_password": PASSWORD, "new_password": PASSWORD}}
    bodies |= {"/api-keys": {"name": "x", "scopes": ["admin"]}, "/admin/invites": {"email": unique_email()}}
    bodies |= {"/tenants/{id}": {"name": "x"}, "/admin/users/{id}": {"disabled": False}}
    bodies |= {path: {"limit_micro_usd": 1} for path in ("/admin/budget", "/admin/users/{id}/budget")}
    admin = acme.admin

    async def every_route_refuses(admin: Member) -> None:
        for method, path in guarded:
            answer = await client.request(
                method,
                path.format(id=acme.id if path.startswith("/tenants") else admin.id, name="openai", item_id="x"),
                headers=admin.headers,
                params={"name": acme.name} if path == "/tenants/{id}" else None,
                json=bodies.get(path) if method in ("post", "put", "patch") else None,
            )
            assert answer.status_code == 401, answer.text
            if not path.startswith("/v1/"):
                assert_problem(answer, 401)

    await send(client, admin)
    for change, undo in (
        ("UPDATE users SET role = 'user' WHERE id = $1", "UPDATE users SET role = 'admin' WHERE id = $1"),
        ("UPDATE users SET token_version = 1 WHERE id = $1", "UPDATE users SET token_version = 0 WHERE id = $1"),
        ("UPDATE users SET disabled_at = now() WHERE id = $1", "UPDATE users SET disabled_at = NULL WHERE id = $1"),
        (
            "UPDATE sessions SET expires_at = now() - interval '1 s' WHERE user_id = $1",
            "UPDATE sessions SET expires_at = now() + interval '1 hour' WHERE user_id = $1",
        ),
        ("DELETE FROM users WHERE id = $1", None),
    ):
        await superuser.execute(change, admin.id)
        await every_route_refuses(admin)
        if undo:
            await superuser.execute(undo, admin.id)
            # Another role ends tokens for good: what comes back is the right to log in.
            admin = await log_in(client, admin.email)
            await send(client, admin)
