"""Every statement that a route issues names the tenant; and with the conditions cut out, nothing leaks still."""

import re

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.verification.operations import CHAT
from app.verification.statements import Audit
from tests.committed.providers import HeldProvider
from tests.helpers import PASSWORD, Member, Tenant, join, make_tenant, send, unique_email
from tests.isolation.world import TENANT_TABLES
from tests.llm.service import service_of
from tests.statements import before_statements, statements


def without_conditions(audit: Audit, statement: str) -> str:
    names = "|".join(audit.tables)
    condition = rf"\b(?:(?:{names}|retried)\.tenant_id|tenants\.id) = (\$\d+(?:::VARCHAR)?)"
    return re.sub(condition, r"\1 IS NOT NULL", statement)


@pytest.fixture
async def audit(superuser: asyncpg.Connection) -> Audit:
    """Of every table that the catalog has with a tenant's rows."""
    return Audit(("tenants", *(row[0] for row in await superuser.fetch(TENANT_TABLES))))


async def running_message(
    app: FastAPI, client: httpx.AsyncClient, member: Member, path: str = "/messages", **said: str
) -> str:
    """A message that its provider does not answer."""
    engine = app.state.container.engine
    usual, engine.llm = engine.llm, service_of(HeldProvider())
    body = {**(said or {"content": "Hello"}), "background": True}
    answer = await client.post(path, json=body, headers=member.headers)
    engine.llm = usual
    assert answer.is_success, answer.text
    return str(answer.json()["id"]).removeprefix("resp_")


async def call_every_route(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> set[tuple[str, str]]:
    """Use the whole interface once; returns the (method, path) pairs of the schema that were called."""
    tenant = await make_tenant(client)
    admin, user = tenant.admin.headers, tenant.user.headers
    new_user = {"email": unique_email(), "password": PASSWORD, "role": "user"}
    message = (await send(client, tenant.user))["id"]
    conversation = (await client.post("/conversations", json={"title": "Talk"}, headers=user)).json()["id"]
    in_conversation = {"content": "Hello", "conversation_id": conversation, "webhook_url": "https://hook.invalid/"}
    in_conversation["documents"] = True
    pending = await running_message(app, client, tenant.user)
    talk = (await client.post("/v1/conversations", json={"metadata": {"of": "Talk"}}, headers=admin)).json()["id"]
    wanted = {"input": "Hello", "conversation": talk}
    response = (await client.post("/v1/responses", json=wanted, headers=admin)).json()["id"]
    item = response.replace("resp_", "msg_") + "_i0"
    two_items = {"items": [{"role": "user", "content": "Hello"}] * 2}
    answer = await client.post(f"/v1/conversations/{talk}/items", json=two_items, headers=admin)
    added = answer.json()["data"][0]["id"]
    goes_on = {"input": [{"type": "item_reference", "id": item}], "previous_response_id": response}
    once = {"Idempotency-Key": "three"}
    listed = {"after": item, "order": "asc"}
    deleted = (await client.post("/v1/responses", json={"input": "Hello"}, headers=admin)).json()["id"]
    running = f"resp_{await running_message(app, client, tenant.admin, '/v1/responses', input='Hello')}"
    leaving, going = await join(client, tenant.id), await join(client, tenant.id)
    granted = (await client.post("/login", json={"email": tenant.user.email, "password": PASSWORD})).json()
    key = {"name": "a key", "scopes": ["messages:read"]}
    key_id = (await client.post("/api-keys", json=key, headers=user)).json()["id"]
    kept_key = (await client.post("/api-keys", json=key, headers=user)).json()["id"]
    note = {"name": "note.md", "text": "# Leases"}
    document = (await client.post("/documents", json=note, headers=user)).json()["id"]
    read = "UPDATE document_contents SET text = 'Leases' WHERE document_id = $1"
    await superuser.execute(read, document)
    invited = {"email": unique_email()}
    invite_id = (await client.post("/admin/invites", json=invited, headers=admin)).json()["id"]
    chat = (await client.post("/v1/chat/completions", json={**CHAT, "store": True}, headers=user)).json()["id"]
    leaves = await make_tenant(client)
    await send(client, leaves.user)
    change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}!"}
    calls = {
        ("get", "/health"): client.get("/health"),
        ("get", "/health/ready"): client.get("/health/ready"),
        ("post", "/create-tenant"): client.post("/create-tenant", json={"name": unique_email("tenant")}),
        ("post", "/register"): client.post(
            "/register", json={"email": unique_email(), "password": PASSWORD, "tenant_id": tenant.id}
        ),
        ("post", "/login"): client.post("/login", json={"email": tenant.admin.email, "password": PASSWORD}),
        ("post", "/token"): client.post("/token", data={"username": tenant.admin.email, "password": PASSWORD}),
        ("post", "/refresh"): client.post("/refresh", json={"refresh_token": granted["refresh_token"]}),
        ("post", "/logout"): client.post("/logout", json={"everywhere": True}, headers=leaving.headers),
        ("put", "/me/password"): client.put("/me/password", json=change, headers=going.headers),
        ("get", "/.well-known/jwks.json"): client.get("/.well-known/jwks.json"),
        ("post", "/api-keys"): client.post("/api-keys", json=key, headers=user),
        ("get", "/api-keys"): client.get("/api-keys", headers=user),
        ("delete", "/api-keys/{id}"): client.delete(f"/api-keys/{key_id}", headers=user),
        ("post", "/admin/invites"): client.post("/admin/invites", json={"email": unique_email()}, headers=admin),
        ("get", "/admin/invites"): client.get("/admin/invites", headers=admin),
        ("delete", "/admin/invites/{id}"): client.delete(f"/admin/invites/{invite_id}", headers=admin),
        ("get", "/admin/audit-log"): client.get("/admin/audit-log?action=user.created", headers=admin),
        ("patch", "/admin/users/{id}"): client.patch(
            f"/admin/users/{leaving.id}", json={"role": "admin", "disabled": True}, headers=admin
        ),
        ("delete", "/admin/users/{id}"): client.delete(f"/admin/users/{leaving.id}", headers=admin),
        ("get", "/tenants/{id}"): client.get(f"/tenants/{tenant.id}", headers=user),
        ("patch", "/tenants/{id}"): client.patch(
            f"/tenants/{tenant.id}", json={"message_visibility": "own"}, headers=admin
        ),
        ("get", "/tenants/{id}/export"): client.get(f"/tenants/{tenant.id}/export", headers=admin),
        ("delete", "/tenants/{id}"): client.delete(
            f"/tenants/{leaves.id}", params={"name": leaves.name}, headers=leaves.admin.headers
        ),
        ("get", "/me"): client.get("/me", headers=user),
        ("post", "/messages"): client.post(
            "/messages", json=in_conversation, headers={**user, "Idempotency-Key": "once"}
        ),
        ("get", "/messages"): client.get(f"/messages?q=Hello&conversation_id={conversation}", headers=user),
        ("get", "/messages/{id}/stream"): client.get(f"/messages/{message}/stream", headers=user),
        ("post", "/messages/{id}/cancel"): client.post(f"/messages/{pending}/cancel", headers=user),
        ("post", "/messages/{id}/retry"): client.post(f"/messages/{pending}/retry", headers=user),
        ("post", "/conversations"): client.post("/conversations", json={}, headers={**user, "Idempotency-Key": "two"}),
        ("get", "/conversations"): client.get("/conversations", headers=user),
        ("get", "/conversations/{id}"): client.get(f"/conversations/{conversation}", headers=user),
        ("patch", "/conversations/{id}"): client.patch(
            f"/conversations/{conversation}", json={"title": "New"}, headers=user
        ),
        ("delete", "/conversations/{id}"): client.delete(f"/conversations/{conversation}", headers=user),
        ("post", "/v1/responses"): client.post("/v1/responses", json=goes_on, headers={**admin, **once}),
        ("post", "/v1/responses/input_tokens"): client.post(
            "/v1/responses/input_tokens", json={"input": "Hello"}, headers=admin
        ),
        ("get", "/v1/responses/{id}"): client.get(f"/v1/responses/{response}?stream=true", headers=admin),
        ("get", "/v1/responses/{id}/input_items"): client.get(f"/v1/responses/{response}/input_items", headers=admin),
        ("post", "/v1/responses/{id}/cancel"): client.post(f"/v1/responses/{running}/cancel", headers=admin),
        ("delete", "/v1/responses/{id}"): client.delete(f"/v1/responses/{deleted}", headers=admin),
        ("post", "/v1/conversations"): client.post("/v1/conversations", json={}, headers=admin),
        ("get", "/v1/conversations/{id}"): client.get(f"/v1/conversations/{talk}", headers=admin),
        ("post", "/v1/conversations/{id}"): client.post(
            f"/v1/conversations/{talk}", json={"metadata": {"of": "New"}}, headers=admin
        ),
        ("get", "/v1/conversations/{id}/items"): client.get(
            f"/v1/conversations/{talk}/items", params=listed, headers=admin
        ),
        ("get", "/v1/conversations/{id}/items/{item_id}"): client.get(
            f"/v1/conversations/{talk}/items/{item}", headers=admin
        ),
        ("post", "/v1/conversations/{id}/items"): client.post(
            f"/v1/conversations/{talk}/items", json=two_items, headers=admin | {"Idempotency-Key": "items"}
        ),
        ("delete", "/v1/conversations/{id}/items/{item_id}"): client.delete(
            f"/v1/conversations/{talk}/items/{added}", headers=admin
        ),
        ("delete", "/v1/conversations/{id}"): client.delete(f"/v1/conversations/{talk}", headers=admin),
        ("post", "/search"): client.post("/search", json={"query": "lease"}, headers=user),
        ("post", "/documents"): client.post("/documents", json={**note, "visibility": "private"}, headers=user),
        ("get", "/documents"): client.get("/documents?collection=default&status=queued", headers=user),
        ("get", "/documents/{id}"): client.get(f"/documents/{document}", headers=user),
        ("get", "/documents/{id}/content"): client.get(f"/documents/{document}/content", headers=user),
        ("delete", "/documents/{id}"): client.delete(f"/documents/{document}", headers=user),
        ("get", "/collections"): client.get("/collections", headers=user),
        ("post", "/v1/chat/completions"): client.post(
            "/v1/chat/completions", json={**CHAT, "store": True, "metadata": {"of": "x"}}, headers=user
        ),
        ("get", "/v1/chat/completions"): client.get("/v1/chat/completions", headers=user),
        ("get", "/v1/chat/completions/{id}"): client.get(f"/v1/chat/completions/{chat}", headers=user),
        ("get", "/v1/chat/completions/{id}/messages"): client.get(
            f"/v1/chat/completions/{chat}/messages", headers=user
        ),
        ("post", "/v1/chat/completions/{id}"): client.post(
            f"/v1/chat/completions/{chat}", json={"metadata": {"of": "y"}}, headers=user
        ),
        ("delete", "/v1/chat/completions/{id}"): client.delete(f"/v1/chat/completions/{chat}", headers=user),
        ("post", "/v1/messages"): client.post(
            "/v1/messages", json={**CHAT, "max_tokens": 50}, headers={**user, "Idempotency-Key": "kept"}
        ),
        ("post", "/v1/messages/count_tokens"): client.post("/v1/messages/count_tokens", json=CHAT, headers=user),
        ("post", "/v1/embeddings"): client.post("/v1/embeddings", json={"input": "Leases"}, headers=user),
        ("get", "/v1/models"): client.get("/v1/models", headers=user),
        ("get", "/v1/models/{id}"): client.get("/v1/models/mock-echo", headers=user),
        ("get", "/models"): client.get("/models", headers=user),
        ("get", "/models/{id}"): client.get("/models/mock-echo", headers=user),
        ("get", "/usage"): client.get("/usage?group_by=user", headers=admin),
        ("get", "/admin/budget"): client.get("/admin/budget", headers=admin),
        ("put", "/admin/budget"): client.put("/admin/budget", json={"limit_micro_usd": 10**9}, headers=admin),
        ("get", "/admin/users/{id}/budget"): client.get(f"/admin/users/{tenant.user.id}/budget", headers=admin),
        ("put", "/admin/users/{id}/budget"): client.put(
            f"/admin/users/{tenant.user.id}/budget", json={"limit_micro_usd": None}, headers=admin
        ),
        ("post", "/api-keys/{id}/rotate"): client.post(
            f"/api-keys/{kept_key}/rotate", json={}, headers={**user, "Idempotency-Key": "three"}
        ),
        ("get", "/admin/api-keys/{id}/budget"): client.get(f"/admin/api-keys/{kept_key}/budget", headers=admin),
        ("put", "/admin/api-keys/{id}/budget"): client.put(
            f"/admin/api-keys/{kept_key}/budget", json={"limit_micro_usd": 10**9, "period": "day"}, headers=admin
        ),
        ("put", "/admin/providers/{name}"): client.put(
            "/admin/providers/openai?test=false", json={"api_key": "sk-none"}, headers=admin
        ),
        ("get", "/admin/providers"): client.get("/admin/providers", headers=admin),
        ("get", "/admin/providers/{name}"): client.get("/admin/providers/openai", headers=admin),
        ("delete", "/admin/providers/{name}"): client.delete("/admin/providers/openai", headers=admin),
        ("get", "/admin/webhook-secret"): client.get("/admin/webhook-secret", headers=admin),
        ("post", "/admin/webhook-secret"): client.post("/admin/webhook-secret", headers=admin),
        ("get", "/messages/{id}"): client.get(f"/messages/{message}", headers=user),
        ("delete", "/messages/{id}"): client.delete(f"/messages/{message}", headers=user),
        ("post", "/admin/users"): client.post("/admin/users", json=new_user, headers=admin),
        ("get", "/tenants/{id}/users"): client.get(f"/tenants/{tenant.id}/users?limit=1", headers=admin),
    }
    for call in calls.values():
        answer = await call
        assert answer.is_success, answer.text
    replayed = await client.post("/conversations", json={}, headers={**user, "Idempotency-Key": "two"})
    assert replayed.is_success
    next_page = (await client.get("/messages?limit=3", headers=user)).links
    assert not next_page
    await send(client, tenant.user)
    deep = (await client.get("/messages?limit=3", headers=user)).links["next"]["url"]
    assert (await client.get(deep, headers=user)).status_code == 200
    return set(calls)


def operations(app: FastAPI) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in app.openapi()["paths"].items() for method in methods}


async def test_every_statement_on_tenant_data_names_the_tenant(
    app: FastAPI, client: httpx.AsyncClient, audit: Audit, superuser: asyncpg.Connection
) -> None:
    with statements() as seen:
        called = await call_every_route(app, client, superuser)

    assert called == operations(app), "a new route must be called here"
    audited = {statement for statement in seen if audit.names_one(statement)}
    assert len(audited) >= 20
    for statement in audited:
        assert audit.is_guarded(statement), statement
        if "INSERT INTO" in statement and "INSERT INTO tenants" not in statement:
            assert "tenant_id" in statement, statement


async def test_with_the_conditions_cut_out_row_level_security_alone_leaks_nothing(
    app: FastAPI, client: httpx.AsyncClient, audit: Audit, acme: Tenant, rival: Tenant
) -> None:
    await send(client, rival.user, "the rival's secret")
    mine = await send(client, acme.user, "mine")
    cut: list[str] = []

    async def strip(statement: str) -> str:
        stripped = without_conditions(audit, statement)
        if stripped != statement:
            cut.append(statement)
        return stripped

    with before_statements(strip):
        messages = (await client.get("/messages", headers=acme.user.headers)).json()
        users = (await client.get(f"/tenants/{acme.id}/users", headers=acme.admin.headers)).json()
        me = (await client.get("/me", headers=acme.user.headers)).json()

    assert len(cut) == 3
    assert [row["id"] for row in messages] == [mine["id"]]
    assert {row["id"] for row in users} == {acme.admin.id, acme.user.id}
    assert me["id"] == acme.user.id


@pytest.mark.parametrize(
    ("statement", "guarded"),
    [
        ("SELECT users.id FROM users WHERE users.tenant_id = $1::VARCHAR", True),
        ("SELECT users.id FROM users WHERE users.id = $1::VARCHAR", False),
        ("SELECT users.tenant_id FROM users", False),
        ("WITH x AS (UPDATE messages SET a = 1 WHERE messages.tenant_id = $1) SELECT * FROM budgets", False),
        ("DELETE FROM budgets WHERE budgets.tenant_id = $2", True),
    ],
)
async def test_the_audit_itself_can_fail(audit: Audit, statement: str, *, guarded: bool) -> None:
    assert audit.is_guarded(statement) is guarded


async def test_a_table_that_is_new_is_audited(superuser: asyncpg.Connection) -> None:
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute("CREATE TABLE shelves (id text, tenant_id text)")
        found = await superuser.fetch(TENANT_TABLES)
    finally:
        await transaction.rollback()
    audit = Audit(tuple(row[0] for row in found))
    assert audit.names_one("INSERT INTO shelves (id) VALUES ($1)")
    assert not audit.is_guarded("SELECT shelves.id FROM shelves WHERE shelves.id = $1")
