"""Budgets: never overshot, always whole again, on every path."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.errors import ProviderError
from app.core.settings.llm import Price
from app.llm.base import Call, Completion
from app.messages.sweeper import sweep
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import FailingProvider, HeldProvider
from tests.helpers import Tenant, join, make_tenant, send

PRICES = {"held-1": Price(input=1_000_000, output=1_000_000)}
# With `llm_max_output_tokens` 100: at most 145 of input (a byte, a turn, a template), and the output.
CLAIM = 245
COST = 3
PAID = {"llm_prices": PRICES, "llm_max_output_tokens": 100}


async def set_budget(client: httpx.AsyncClient, tenant: Tenant, limit: int | None, user_id: str = "") -> None:
    path = f"/admin/users/{user_id}/budget" if user_id else "/admin/budget"
    answer = await client.put(path, json={"limit_micro_usd": limit}, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text


async def figures(superuser: asyncpg.Connection, tenant: Tenant) -> list[tuple[int, int]]:
    """(spent, reserved) of the tenant's budget, then of its users'."""
    rows = await superuser.fetch("SELECT * FROM budgets WHERE tenant_id = $1 ORDER BY user_id NULLS FIRST", tenant.id)
    return [(row["spent_micro_usd"], row["reserved_micro_usd"]) for row in rows]


class CostlyProvider:
    """Uses as many tokens as it may."""

    name = "held"
    models = ("held-1",)

    async def complete(self, call: Call) -> Completion:
        await asyncio.sleep(0.001)
        return Completion("x", "held-1", 145, 100)

    async def close(self) -> None: ...


async def test_five_hundred_sends_at_once_never_overshoot_a_budget(serve: Serve, superuser: asyncpg.Connection) -> None:
    limit = 200 * CLAIM + 50
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme = await make_tenant(client)
        users = [acme.user, *[await join(client, acme.id) for _ in range(4)]]
        await set_budget(client, acme, limit)
        highest = 0

        async def watch() -> None:
            nonlocal highest
            while True:
                ((spent, reserved),) = await figures(superuser, acme)
                highest = max(highest, spent + reserved)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(
            *(client.post("/messages", json={"content": "x"}, headers=users[n % 5].headers) for n in range(500))
        )
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        refused = [answer for answer in answers if answer.status_code != 201]

    assert len(answers) - len(refused) == 200
    problem = assert_problem(refused[0], 402)
    now = datetime.now(UTC)
    assert problem["resets_at"] == f"{now.year + now.month // 12}-{now.month % 12 + 1:02}-01T00:00:00.000000Z"
    assert {answer.status_code for answer in refused} == {402}
    assert await figures(superuser, acme) == [(200 * CLAIM, 0)]
    assert 0 < highest <= limit
    rows = await rows_of(superuser, acme)
    assert len(rows) == 200
    assert sum(row["cost_micro_usd"] for row in rows) == 200 * CLAIM


async def test_claims_are_held_while_messages_run_and_settled_at_their_end(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, **PAID) as (app, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, 10_000)
        await set_budget(client, acme, 3 * CLAIM, acme.user.id)
        bodies: list[dict[str, Any]] = [{"content": "x", "background": True}] * 4
        answers = [await client.post("/messages", json=body, headers=acme.user.headers) for body in bodies]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 402]  # the user's own is full
        other = await client.post("/messages", json=bodies[0], headers=acme.admin.headers)
        assert other.status_code == 202
        assert await figures(superuser, acme) == [(0, 4 * CLAIM), (0, 3 * CLAIM)]
        shown = (await client.get(f"/admin/users/{acme.user.id}/budget", headers=acme.admin.headers)).json()
        assert (shown["limit_micro_usd"], shown["reserved_micro_usd"]) == (3 * CLAIM, 3 * CLAIM)
        await client.post(f"/messages/{answers[0].json()['id']}/cancel", headers=acme.user.headers)
        provider.release.set()
        await app.state.container.engine.drain(10)
    cancelled = next(row for row in await rows_of(superuser, acme) if row["status"] == "cancelled")
    assert 0 < cancelled["cost_micro_usd"] <= CLAIM
    spent = cancelled["cost_micro_usd"]
    assert await figures(superuser, acme) == [(3 * COST + spent, 0), (2 * COST + spent, 0)]


async def test_a_failed_call_is_refunded_and_a_retry_claims_again(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    provider.release.set()
    provider.error = ProviderError()
    async with serve(provider, **PAID) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, CLAIM)
        await set_budget(client, acme, CLAIM, acme.user.id)
        failed = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert await figures(superuser, acme) == [(0, 0), (0, 0)]
        provider.error = None
        # An admin asks for it again, and its author's budget pays.
        url = f"/messages/{failed.json()['message_id']}/retry"
        assert (await client.post(url, headers=acme.admin.headers)).status_code == 200
        assert await figures(superuser, acme) == [(COST, 0), (COST, 0)]
        assert_problem(await client.post("/messages", json={"content": "x"}, headers=acme.user.headers), 402)
    assert len(await rows_of(superuser, acme)) == 1


async def test_what_a_dead_process_held_is_given_back(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with serve(provider, **PAID) as (app, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, 10_000)
        body = {"content": "x", "background": True}
        for _ in range(3):
            await client.post("/messages", json=body, headers=acme.user.headers)
        assert await figures(superuser, acme) == [(0, 3 * CLAIM)]
        await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE tenant_id = $1", acme.id)
        assert await sweep(app.state.container.database) >= 3
        assert await figures(superuser, acme) == [(0, 0)]
        provider.release.set()
        await app.state.container.engine.drain(10)
    assert await figures(superuser, acme) == [(0, 0)]  # an answer that comes too late settles nothing


async def test_a_user_who_is_deleted_while_a_message_runs_gives_its_claim_back(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, **PAID) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, 10_000)
        await client.post("/messages", json={"content": "x", "background": True}, headers=acme.user.headers)
        assert await figures(superuser, acme) == [(0, CLAIM)]
        await superuser.execute("DELETE FROM users WHERE id = $1", acme.user.id)
        assert await figures(superuser, acme) == [(0, 0)]
        provider.release.set()


async def test_a_budget_that_is_made_while_messages_run_begins_with_their_claims(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, **PAID) as (app, client):
        acme = await make_tenant(client)
        provider.release.set()
        await send(client, acme.user, "x")
        provider.release.clear()
        for _ in range(2):
            await client.post("/messages", json={"content": "x", "background": True}, headers=acme.user.headers)
        await set_budget(client, acme, 1)
        await set_budget(client, acme, 1, acme.user.id)
        assert await figures(superuser, acme) == [(COST, 2 * CLAIM)] * 2
        provider.release.set()
        await app.state.container.engine.drain(10)
    assert await figures(superuser, acme) == [(3 * COST, 0)] * 2


async def test_sends_and_new_budgets_at_once_leave_no_claim_behind(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        for _ in range(5):
            acme = await make_tenant(client)
            sends = [client.post("/messages", json={"content": "x"}, headers=acme.user.headers) for _ in range(30)]
            budgets = [set_budget(client, acme, 10**9), set_budget(client, acme, 10**9, acme.user.id)]
            await asyncio.gather(*sends[:15], *budgets, *sends[15:])
            assert await figures(superuser, acme) == [(30 * CLAIM, 0)] * 2


async def test_last_months_spending_is_no_more(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, CLAIM)
        await superuser.execute(
            "UPDATE budgets SET period = period - interval '1 month', spent_micro_usd = 10^9, reserved_micro_usd = 5 "
            "WHERE tenant_id = $1",
            acme.id,
        )
        shown = (await client.get("/admin/budget", headers=acme.admin.headers)).json()
        assert (shown["spent_micro_usd"], shown["reserved_micro_usd"]) == (0, 0)
        await send(client, acme.user, "x")
    assert await figures(superuser, acme) == [(CLAIM, 0)]


async def test_a_model_without_a_price_is_refused_under_a_limit_and_only_there(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, llm_prices={}) as (_, client):
        acme = await make_tenant(client)
        assert (await send(client, acme.user))["cost_micro_usd"] is None
        await set_budget(client, acme, 10**9)
        answer = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert assert_problem(answer, 409)["type"] == "urn:llm-saas:problem:model-without-price"
        await set_budget(client, acme, None)
        await send(client, acme.user)
    assert len(await rows_of(superuser, acme)) == 2


@pytest.mark.parametrize("limit", [-1, 1.5, "1", True, 2**63, 10**30])
async def test_a_limit_is_a_whole_number_of_micro_dollars(client: httpx.AsyncClient, acme: Tenant, limit: Any) -> None:
    answer = await client.put("/admin/budget", json={"limit_micro_usd": limit}, headers=acme.admin.headers)
    assert_problem(answer, 422)


async def test_budgets_are_for_the_tenants_own_admins(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    body = {"limit_micro_usd": 1}
    for path in ("/admin/budget", f"/admin/users/{acme.user.id}/budget"):
        assert_problem(await client.get(path, headers=acme.user.headers), 403)
        assert_problem(await client.put(path, json=body, headers=acme.user.headers), 403)
    for stranger in (rival.user.id, acme.id, "nobody"):
        path = f"/admin/users/{stranger}/budget"
        assert_problem(await client.get(path, headers=acme.admin.headers), 404)
        assert_problem(await client.put(path, json=body, headers=acme.admin.headers), 404)


async def test_a_provider_that_fails_at_once_does_not_wear_a_budget_down(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(FailingProvider(ProviderError()), llm_prices={"failing-1": PRICES["held-1"]}) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, 100_000)
        answers = await asyncio.gather(
            *(client.post("/messages", json={"content": "x"}, headers=acme.user.headers) for _ in range(50))
        )
    assert {answer.status_code for answer in answers} <= {502, 402}
    assert await figures(superuser, acme) == [(0, 0)]
