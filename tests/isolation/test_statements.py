"""Every statement that a route issues names the tenant; and with the conditions cut out, nothing leaks still."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from tests.helpers import PASSWORD, Tenant, make_tenant, send, unique_email

TENANT_TABLE = re.compile(r"\b(tenants|users|messages)\b")
READ_OR_CHANGE = re.compile(r"^\s*(SELECT|UPDATE|DELETE)\b", re.IGNORECASE)
# `tenants` has no tenant_id: its own id is the tenant.
CONDITION = re.compile(r"\b(?:users\.tenant_id|messages\.tenant_id|tenants\.id) = \$\d+(?:::VARCHAR)?")


@contextmanager
def statements_of(app: FastAPI) -> Iterator[list[str]]:
    engine = app.state.container.database.engine.sync_engine
    seen: list[str] = []

    def record(_c: Any, _cur: Any, statement: str, _p: Any, _ctx: Any, _many: bool) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", record)


async def call_every_route(app: FastAPI, client: httpx.AsyncClient) -> set[tuple[str, str]]:
    """Use the whole interface once; returns the (method, path) pairs of the schema that were called."""
    tenant = await make_tenant(client)
    admin, user = tenant.admin.headers, tenant.user.headers
    new_user = {"email": unique_email(), "password": PASSWORD, "role": "user"}
    message = (await send(client, tenant.user))["id"]
    calls = {
        ("get", "/health"): client.get("/health"),
        ("get", "/health/ready"): client.get("/health/ready"),
        ("post", "/create-tenant"): client.post("/create-tenant", json={"name": unique_email("tenant")}),
        ("post", "/register"): client.post(
            "/register", json={"email": unique_email(), "password": PASSWORD, "tenant_id": tenant.id}
        ),
        ("post", "/login"): client.post("/login", json={"email": tenant.admin.email, "password": PASSWORD}),
        ("post", "/token"): client.post("/token", data={"username": tenant.admin.email, "password": PASSWORD}),
        ("get", "/me"): client.get("/me", headers=user),
        ("post", "/messages"): client.post("/messages", json={"content": "Hello"}, headers=user),
        ("get", "/messages"): client.get("/messages", headers=user),
        ("get", "/messages/{id}"): client.get(f"/messages/{message}", headers=user),
        ("delete", "/messages/{id}"): client.delete(f"/messages/{message}", headers=user),
        ("post", "/admin/users"): client.post("/admin/users", json=new_user, headers=admin),
        ("get", "/tenants/{id}/users"): client.get(f"/tenants/{tenant.id}/users?limit=1", headers=admin),
    }
    for call in calls.values():
        answer = await call
        assert answer.is_success, answer.text
    next_page = (await client.get("/messages?limit=1", headers=user)).links
    assert not next_page
    await send(client, tenant.user)
    deep = (await client.get("/messages?limit=1", headers=user)).links["next"]["url"]
    assert (await client.get(deep, headers=user)).status_code == 200
    return set(calls)


def operations(app: FastAPI) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in app.openapi()["paths"].items() for method in methods}


async def test_every_statement_on_tenant_data_names_the_tenant(app: FastAPI, client: httpx.AsyncClient) -> None:
    with statements_of(app) as seen:
        called = await call_every_route(app, client)

    assert called == operations(app), "a new route must be called here"
    audited = [statement for statement in seen if TENANT_TABLE.search(statement) and READ_OR_CHANGE.match(statement)]
    assert len({*audited}) >= 6
    for statement in audited:
        assert CONDITION.search(statement), statement
    for statement in seen:
        if "INSERT INTO" in statement and "INSERT INTO tenants" not in statement:
            assert "tenant_id" in statement, statement


async def test_with_the_conditions_cut_out_row_level_security_alone_leaks_nothing(
    app: FastAPI, client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    await send(client, rival.user, "the rival's secret")
    mine = await send(client, acme.user, "mine")
    cut: list[str] = []

    def strip(_c: Any, _cur: Any, statement: str, parameters: Any, _ctx: Any, _many: bool) -> tuple[str, Any]:
        stripped = CONDITION.sub(lambda found: f"{found[0].split(' = ')[1]} IS NOT NULL", statement)
        if stripped != statement:
            cut.append(statement)
        return stripped, parameters

    engine = app.state.container.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", strip, retval=True)
    try:
        messages = (await client.get("/messages", headers=acme.user.headers)).json()
        users = (await client.get(f"/tenants/{acme.id}/users", headers=acme.admin.headers)).json()
        me = (await client.get("/me", headers=acme.user.headers)).json()
    finally:
        event.remove(engine, "before_cursor_execute", strip)

    assert len(cut) == 3
    assert [row["id"] for row in messages] == [mine["id"]]
    assert {row["id"] for row in users} == {acme.admin.id, acme.user.id}
    assert me["id"] == acme.user.id


@pytest.mark.parametrize(
    ("statement", "is_guarded"),
    [
        ("SELECT users.id FROM users WHERE users.tenant_id = $1::VARCHAR", True),
        ("SELECT users.id FROM users WHERE users.id = $1::VARCHAR", False),
        ("SELECT users.tenant_id FROM users", False),
    ],
)
def test_the_audit_itself_can_fail(statement: str, is_guarded: bool) -> None:
    assert bool(CONDITION.search(statement)) is is_guarded
