"""The operator's ceiling: a tenant's admins can go below it and never above."""

import asyncio
import secrets
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.cli import parse, set_ceiling
from app.core.errors import PermissionDenied, TenantNotFound
from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve
from tests.committed.test_budgets import CLAIM, PAID, CostlyProvider, set_budget
from tests.conftest import execute, make_settings
from tests.helpers import Tenant, make_tenant, send

CEILING = "tenant_budget_ceiling_micro_usd"
TWO = {**PAID, CEILING: 2 * CLAIM}


async def statuses(client: httpx.AsyncClient, tenant: Tenant, count: int) -> list[int]:
    bodies = [{"content": "x" * 100} for _ in range(count)]
    sent = (client.post("/messages", json=body, headers=tenant.user.headers) for body in bodies)
    return sorted(answer.status_code for answer in await asyncio.gather(*sent))


async def spent(superuser: asyncpg.Connection, tenant: Tenant) -> int:
    return await superuser.fetchval("SELECT sum(cost_micro_usd) FROM messages WHERE tenant_id = $1", tenant.id)


async def operate(database_url: URL, tmp_path: Path, tenant_id: str, *amount: str) -> str:
    arguments = parse(["set-ceiling", "--tenant-id", tenant_id, *amount])
    return await set_ceiling(arguments, make_settings(database_url, tmp_path))


async def test_no_tenant_spends_more_than_all_may_whatever_its_admins_set(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(CostlyProvider(), **TWO) as (_, client):
        acme = await make_tenant(client)
        shown = (await client.get("/admin/budget", headers=acme.admin.headers)).json()
        assert (shown["limit_micro_usd"], shown["ceiling_micro_usd"]) == (None, 2 * CLAIM)

        outcome = await statuses(client, acme, 20)  # the first ones, all at once
        assert set(outcome) == {201, 402}
        assert await spent(superuser, acme) <= 2 * CLAIM

        for limit in (None, 10**9):
            await set_budget(client, acme, limit)
            assert set(await statuses(client, acme, 5)) <= {201, 402}
            assert await spent(superuser, acme) <= 2 * CLAIM
        retried = (await client.get("/messages?limit=1", headers=acme.user.headers)).json()[0]
        await superuser.execute("UPDATE messages SET status = 'failed' WHERE id = $1", retried["id"])
        await statuses(client, acme, 3)
        assert_problem(await client.post(f"/messages/{retried['id']}/retry", headers=acme.user.headers), 402)


async def test_below_it_admins_set_what_they_like(serve: Serve) -> None:
    async with serve(CostlyProvider(), **TWO) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, 1)
        assert await statuses(client, acme, 1) == [402]
        await set_budget(client, acme, None)
        assert await statuses(client, acme, 1) == [201]


async def test_what_was_spent_before_there_was_a_ceiling_counts(serve: Serve) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme = await make_tenant(client)
        for _ in range(2):
            await send(client, acme.user)
    async with serve(CostlyProvider(), **TWO) as (_, client):
        assert await statuses(client, acme, 1) == [402]


async def test_a_tenant_may_have_one_of_its_own_set_by_the_operator(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL, tmp_path: Path
) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client), serve(CostlyProvider(), **TWO) as (_, bound):
        acme = await make_tenant(client)
        assert "0 micro-USD" in await operate(database_url, tmp_path, acme.id, "--micro-usd", "0")
        await set_budget(client, acme, 10**9)
        assert await statuses(client, acme, 1) == [402]
        assert await statuses(bound, acme, 1) == [402]
        await operate(database_url, tmp_path, acme.id, "--micro-usd", str(10**8))
        assert await statuses(bound, acme, 5) == [201] * 5
        shown = (await bound.get("/admin/budget", headers=acme.admin.headers)).json()
        assert shown["ceiling_micro_usd"] == 10**8
        await operate(database_url, tmp_path, acme.id, "--default")
        assert await statuses(bound, acme, 1) == [402]
        assert await statuses(client, acme, 1) == [201]

    log = await superuser.fetch("SELECT * FROM audit_log WHERE tenant_id = $1 AND action = 'ceiling.set'", acme.id)
    assert [row["actor_type"] for row in log] == ["operator"] * 3


async def test_the_runtimes_login_cannot_lift_it(
    client: httpx.AsyncClient, database_url: URL, tmp_path: Path, acme: Tenant
) -> None:
    login = f"runtime_{secrets.token_hex(4)}"
    await execute(database_url, f"CREATE ROLE {login} LOGIN INHERIT PASSWORD 'pw'; GRANT llm_saas_app TO {login}")
    runtime = database_url.set(username=login, password="pw")
    with pytest.raises(PermissionDenied, match="MIGRATION_DATABASE_URL"):
        await operate(runtime, tmp_path, acme.id, "--micro-usd", "5")


@pytest.mark.parametrize("tenant_id", ["x", "01a20abe-50bf-7145-887a-afc9bd16364e"])
async def test_there_must_be_such_a_tenant(database_url: URL, tmp_path: Path, tenant_id: str) -> None:
    with pytest.raises(TenantNotFound):
        await operate(database_url, tmp_path, tenant_id, "--default")


@pytest.mark.parametrize("amount", ["-1", "x", "1.5", str(2**53), "١"])
def test_an_amount_is_a_whole_number(amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["set-ceiling", "--tenant-id", new_id(), f"--micro-usd={amount}"])
    assert "whole number" in capsys.readouterr().err


async def test_a_model_without_a_price_is_refused_below_a_ceiling(serve: Serve) -> None:
    async with serve(CostlyProvider(), **{CEILING: 10**9, "llm_prices": {}}) as (_, client):
        acme = await make_tenant(client)
        assert_problem(await client.post("/messages", json={"content": "x"}, headers=acme.user.headers), 409)
