"""Who may create tenants where that is the operator's to do."""

import argparse
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.cli import create_admin
from tests.api.problems import assert_problem
from tests.conftest import make_settings
from tests.helpers import PASSWORD, Tenant, log_in, unique_email
from tests.sessions import instance

TOKEN = secrets.token_hex(32)


@pytest.fixture
async def operated(database_url: URL, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with instance(database_url, tmp_path, tenant_creation="operator", operator_token=TOKEN) as (_, client):
        yield client


async def test_the_operator_token_creates_a_tenant(operated: httpx.AsyncClient, superuser: asyncpg.Connection) -> None:
    body = {"name": unique_email("Tenant"), "admin": {"email": unique_email(), "password": PASSWORD}}
    answer = await operated.post("/create-tenant", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 201
    log = "SELECT action, actor_type FROM audit_log WHERE tenant_id = $1 ORDER BY created_at, id"
    entries = [tuple(row) for row in await superuser.fetch(log, answer.json()["id"])]
    assert sorted(entries) == [("tenant.created", "operator"), ("user.created", "operator")]


WRONG = {
    "none": None,
    "empty": "",
    "the scheme alone": "Bearer",
    "a space": "Bearer ",
    "longer": f"Bearer {TOKEN}0",
    "shorter": f"Bearer {TOKEN[:-1]}",
    "another scheme": f"Basic {TOKEN}",
    "no scheme": TOKEN,
    "not ASCII": "Bearer \xff",
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
async def test_without_the_operator_token_no_tenant_is_created(
    operated: httpx.AsyncClient, superuser: asyncpg.Connection, header: str | None
) -> None:
    name = unique_email("Tenant")
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    problem = assert_problem(await operated.post("/create-tenant", json={"name": name}, headers=headers), 401)
    assert problem["type"] == "urn:llm-saas:problem:operator-token-required"
    assert await superuser.fetchval("SELECT count(*) FROM tenants WHERE name = $1", name) == 0


async def test_an_admins_token_is_no_operator_token_and_that_is_no_callers(
    operated: httpx.AsyncClient, acme: Tenant
) -> None:
    body = {"name": unique_email("Tenant")}
    assert_problem(await operated.post("/create-tenant", json=body, headers=acme.admin.headers), 401)
    assert_problem(await operated.get("/me", headers={"Authorization": f"Bearer {TOKEN}"}), 401)


async def test_the_command_line_creates_tenants_as_the_operator(
    database_url: URL, tmp_path: Path, superuser: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    settings = make_settings(database_url, tmp_path, tenant_creation="operator", operator_token=TOKEN)
    email, another = unique_email("ops"), unique_email("ops")
    new = argparse.Namespace(email=email, new_tenant=unique_email("Tenant"), tenant_id=None, region=None)

    said = await create_admin(new, PASSWORD, settings)

    admin = await log_in(client, email)
    assert said == f"Created admin {email} (id {admin.id}) in tenant {admin.tenant_id}"
    existing = argparse.Namespace(email=another, new_tenant=None, tenant_id=admin.tenant_id)
    await create_admin(existing, PASSWORD, settings)
    assert (await client.get("/admin/budget", headers=(await log_in(client, another)).headers)).status_code == 200
    log = "SELECT actor_type FROM audit_log WHERE tenant_id = $1 AND action <> 'session.begun'"
    assert {row["actor_type"] for row in await superuser.fetch(log, admin.tenant_id)} == {"operator"}


@pytest.mark.parametrize(("mode", "status"), [("open", 201), ("invite", 403), ("closed", 403)])
async def test_new_tenants_admit_whom_the_operator_chose(
    database_url: URL, tmp_path: Path, mode: str, status: int
) -> None:
    async with instance(database_url, tmp_path, default_registration=mode) as (_, client):
        body = {"name": unique_email("Tenant"), "admin": {"email": unique_email(), "password": PASSWORD}}
        made = (await client.post("/create-tenant", json=body)).json()
        newcomer = {"email": unique_email(), "password": PASSWORD, "tenant_id": made["id"]}
        assert (await client.post("/register", json=newcomer)).status_code == status
        admin = await log_in(client, body["admin"]["email"])
        shown = (await client.get(f"/tenants/{made['id']}", headers=admin.headers)).json()
        assert shown["registration"] == mode
