"""Budgets of API keys, and of days and weeks: as race-free as the month's, each beside all others."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.core import budget_errors, errors
from app.core.errors import BudgetExceeded
from tests.api.problems import assert_kind
from tests.api.test_api_keys import make_key
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import FailingProvider, HeldProvider
from tests.committed.test_budgets import CLAIM, COST, PAID, PRICES, CostlyProvider
from tests.helpers import Tenant, join, make_tenant
from tests.waiting import until

PERIODS = ("day", "week", "month")
# So many commit at once that a claim which is not locked is lost.
MANY = {"db_pool_size": 8, "db_connections_per_tenant": 8}
WRITES = ["messages:read", "messages:write"]
KINDS = [("tenant", "day"), ("tenant", "week"), ("user", "day"), ("user", "week"), ("key", "day"), ("key", "week"),
         ("key", "month")]  # fmt: skip


async def set_budget(
    client: httpx.AsyncClient, tenant: Tenant, of: str, period: str, limit: int | None, holder: str = ""
) -> dict[str, Any]:
    path = {
        "tenant": "/admin/budget",
        "user": f"/admin/users/{holder}/budget",
        "key": f"/admin/api-keys/{holder}/budget",
    }
    body = {"limit_micro_usd": limit, "period": period}
    answer = await client.put(path[of], json=body, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text
    shown = (await client.get(path[of], params={"period": period}, headers=tenant.admin.headers)).json()
    assert shown == answer.json()
    assert shown["limit_micro_usd"] == limit
    assert shown["period"] == period
    return dict(shown)


async def figures(superuser: asyncpg.Connection, tenant: Tenant) -> list[tuple[int, int]]:
    rows = await superuser.fetch(
        "SELECT * FROM period_budgets WHERE tenant_id = $1 ORDER BY holder, period_unit", tenant.id
    )
    return [(row["spent_micro_usd"], row["reserved_micro_usd"]) for row in rows]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def send_with(client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return await client.post("/messages", json={"content": "x"}, headers=headers)


@pytest.mark.parametrize(("of", "period"), KINDS)
async def test_many_sends_at_once_never_overshoot_any_kind_of_budget(
    serve: Serve, superuser: asyncpg.Connection, of: str, period: str
) -> None:
    limit, sends = 20 * CLAIM + 50, 50
    async with serve(CostlyProvider(), **MANY, **PAID) as (_, client):
        acme = await make_tenant(client)
        made = await make_key(client, acme.user, WRITES)
        holder = {"tenant": "", "user": acme.user.id, "key": made["id"]}[of]
        await set_budget(client, acme, of, period, limit, holder)
        answers = await asyncio.gather(*(send_with(client, bearer(made["key"])) for _ in range(sends)))
        refused = [answer for answer in answers if answer.status_code != 201]

    assert len(answers) - len(refused) == 20
    problem = assert_kind(refused[0], 402, "budget-exceeded")
    whose = {"tenant": "", "user": "user's ", "key": "API key's "}[of]
    assert problem["detail"] == f"The {whose}budget of this {period} does not cover the message."
    assert problem["resets_at"].startswith(BudgetExceeded(of, period).resets_at.strftime("%Y-%m-%dT00:00:00"))
    assert await figures(superuser, acme) == [(20 * CLAIM, 0)]


async def test_sends_at_once_overshoot_none_of_all_kinds_together(serve: Serve, superuser: asyncpg.Connection) -> None:
    """Each holds somewhere: the key's 12, its user's 16, the other user's 18, the tenant's 32."""
    async with serve(CostlyProvider(), **MANY, **PAID) as (_, client):
        acme = await make_tenant(client)
        other = await join(client, acme.id)
        key = await make_key(client, acme.user, WRITES)
        await set_budget(client, acme, "key", "day", 12 * CLAIM, key["id"])
        await set_budget(client, acme, "key", "month", 13 * CLAIM, key["id"])
        await set_budget(client, acme, "user", "week", 16 * CLAIM, acme.user.id)
        await set_budget(client, acme, "user", "day", 18 * CLAIM, other.id)
        await set_budget(client, acme, "tenant", "day", 32 * CLAIM)
        await set_budget(client, acme, "tenant", "month", 33 * CLAIM)
        senders = [bearer(key["key"]), acme.user.headers, other.headers]
        answers = await asyncio.gather(*(send_with(client, senders[n % 3]) for n in range(150)))
    paid = [sum(answer.status_code == 201 for answer in answers[n::3]) for n in range(3)]
    assert sum(paid) == 32
    assert paid[0] <= 12
    assert paid[0] + paid[1] <= 16
    assert paid[2] <= 18
    assert {answer.status_code for answer in answers} == {201, 402}
    for spent, reserved in await figures(superuser, acme):
        assert reserved == 0
        assert spent % CLAIM == 0
    of_key = await superuser.fetch(
        "SELECT spent_micro_usd FROM period_budgets WHERE tenant_id = $1 AND user_id IS NOT NULL AND holder <> user_id",
        acme.id,
    )
    assert [row[0] for row in of_key] == [paid[0] * CLAIM] * 2


async def test_claims_of_a_key_are_held_settled_refunded_and_given_back(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    held, prices = HeldProvider(), PAID
    async with serve(held, **prices) as (_, client):
        acme = await make_tenant(client)
        key = await make_key(client, acme.user, WRITES)
        await set_budget(client, acme, "key", "day", 10**6, key["id"])
        await set_budget(client, acme, "user", "day", 10**6, acme.user.id)
        sending = asyncio.create_task(send_with(client, bearer(key["key"])))
        await until(lambda: held.calls, "the call")
        assert await figures(superuser, acme) == [(0, CLAIM), (0, CLAIM)]
        held.release.set()
        assert (await sending).status_code == 201
        assert await figures(superuser, acme) == [(COST, 0), (COST, 0)]
        held.release.clear()
        running = asyncio.create_task(send_with(client, bearer(key["key"])))
        await until(lambda: held.calls > 1, "the second call")
        assert (await client.delete(f"/admin/users/{acme.user.id}", headers=acme.admin.headers)).status_code == 204
        assert await figures(superuser, acme) == []
        held.release.set()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_session_and_another_key_do_not_spend_a_keys_budget_and_a_retry_is_the_retriers(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(
        FailingProvider(errors.ProviderError()), llm_prices={FailingProvider.models[0]: PRICES["held-1"]}
    ) as (_, client):
        acme = await make_tenant(client)
        first, second = [await make_key(client, acme.user, WRITES) for _ in range(2)]
        await set_budget(client, acme, "key", "day", 0, first["id"])
        await set_budget(client, acme, "key", "day", 10**6, second["id"])
        assert (await send_with(client, acme.user.headers)).status_code == 502
        assert (await send_with(client, bearer(second["key"]))).status_code == 502
        assert (await send_with(client, bearer(first["key"]))).status_code == 402
        rows = await rows_of(superuser, acme)
        assert [row["api_key_line"] for row in rows] == [None, second["id"]]
        for row in rows:
            retried = await client.post(f"/messages/{row['id']}/retry", json={}, headers=bearer(first["key"]))
            assert_kind(retried, 402, "budget-exceeded")
        retried = await client.post(f"/messages/{rows[0]['id']}/retry", json={}, headers=bearer(second["key"]))
        assert retried.status_code == 502
        assert (await rows_of(superuser, acme))[0]["api_key_line"] == second["id"]


@pytest.mark.parametrize("period", PERIODS)
async def test_a_period_that_is_over_counts_no_more_and_what_was_spent_in_this_one_does(
    serve: Serve, superuser: asyncpg.Connection, period: str
) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme = await make_tenant(client)
        key = await make_key(client, acme.user, WRITES)
        assert (await send_with(client, bearer(key["key"]))).status_code == 201
        assert (await send_with(client, acme.user.headers)).status_code == 201
        shown = await set_budget(client, acme, "key", period, CLAIM, key["id"])
        assert shown["spent_micro_usd"] == CLAIM
        assert shown["user_id"] == acme.user.id
        assert shown["api_key_id"] == key["id"]
        assert shown["ceiling_micro_usd"] is None
        assert (await send_with(client, bearer(key["key"]))).status_code == 402
        await superuser.execute(
            "UPDATE period_budgets SET period = period - interval '1 ' || period_unit WHERE tenant_id = $1".replace(
                "interval '1 ' || period_unit", "('1 ' || period_unit)::interval"
            ),
            acme.id,
        )
        path = f"/admin/api-keys/{key['id']}/budget"
        shown = (await client.get(path, params={"period": period}, headers=acme.admin.headers)).json()
        assert shown["spent_micro_usd"] == 0
        assert (await send_with(client, bearer(key["key"]))).status_code == 201
        assert await figures(superuser, acme) == [(CLAIM, 0)]


async def test_what_begins_before_midnight_and_ends_after_it_is_counted_once_and_in_no_other_day(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    held = HeldProvider()
    async with serve(held, **PAID) as (_, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, "tenant", "day", 10**6)
        sending = asyncio.create_task(send_with(client, acme.user.headers))
        await until(lambda: held.calls, "the call")
        # A day has passed, and another message has begun the new one.
        await superuser.execute(
            "UPDATE messages SET claimed_at = now() - interval '1 day' WHERE tenant_id = $1", acme.id
        )
        await superuser.execute("UPDATE period_budgets SET reserved_micro_usd = 0 WHERE tenant_id = $1", acme.id)
        held.release.set()
        assert (await sending).status_code == 201
        assert await figures(superuser, acme) == [(0, 0)]


async def test_without_a_budget_a_key_shows_what_it_spent_and_another_tenants_is_none(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        key = await make_key(client, acme.user, WRITES)
        await send_with(client, bearer(key["key"]))
        path = f"/admin/api-keys/{key['id']}/budget"
        for period in PERIODS:
            shown = (await client.get(path, params={"period": period}, headers=acme.admin.headers)).json()
            assert (shown["limit_micro_usd"], shown["spent_micro_usd"]) == (None, CLAIM)
            assert (await client.get(path, params={"period": period}, headers=rival.admin.headers)).status_code == 404
        assert (await client.get(path, params={"period": "year"}, headers=acme.admin.headers)).status_code == 422
        assert (await client.put(path, json={"limit_micro_usd": 1}, headers=rival.admin.headers)).status_code == 404


async def test_a_keys_budgets_go_with_its_last_key(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(CostlyProvider(), **PAID) as (_, client):
        acme = await make_tenant(client)
        key = await make_key(client, acme.user, WRITES)
        for period in PERIODS:
            await set_budget(client, acme, "key", period, 1, key["id"])
        await set_budget(client, acme, "user", "day", 1, acme.user.id)
        assert len(await figures(superuser, acme)) == 4
        assert (await client.delete(f"/api-keys/{key['id']}", headers=acme.user.headers)).status_code == 204
        assert len(await figures(superuser, acme)) == 1


def test_each_period_says_when_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)  # a Thursday

    monkeypatch.setattr(budget_errors, "datetime", Clock)
    begins = {period: BudgetExceeded("tenant", period).resets_at for period in PERIODS}
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert begins == {"day": new_year, "week": new_year + timedelta(days=3), "month": new_year}
    assert begins["week"].weekday() == 0
