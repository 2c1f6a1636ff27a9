"""A tenant is told that budgets are spent: once for each threshold, and whatever is killed meanwhile."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.errors import ProviderUnavailable
from app.services import budget_refusals
from tests.api.test_api_keys import make_key
from tests.committed.conftest import Serve
from tests.committed.providers import FailingProvider
from tests.committed.test_budget_kinds import MANY, WRITES, bearer, send_with, set_budget
from tests.committed.test_budgets import CLAIM, PAID, CostlyProvider
from tests.committed.test_webhooks import LOOPBACK, Receiver
from tests.committed.test_webhooks import receiver as webhook_receiver
from tests.conftest import own_database
from tests.helpers import Tenant, make_tenant
from tests.llm.service import service_of
from tests.waiting import until

database_url, settings, superuser = own_database()
receiver = webhook_receiver
SERVED = {**MANY, **PAID, **LOOPBACK}


async def tell(client: httpx.AsyncClient, tenant: Tenant, url: str | None) -> None:
    answer = await client.patch(f"/tenants/{tenant.id}", json={"event_webhook_url": url}, headers=tenant.admin.headers)
    assert (answer.status_code, answer.json()["event_webhook_url"]) == (200, url)


def told(receiver: Receiver) -> list[dict[str, Any]]:
    events = [json.loads(content) for _, content in receiver.calls]
    assert {event["type"] for event in events} <= {"budget.threshold"}
    return [event["data"] for event in events]


async def deliver(app: Any) -> None:
    while await app.state.container.webhooks.deliver_due():
        pass


@pytest.mark.parametrize(
    ("of", "period"), [("tenant", "month"), ("user", "month"), ("key", "day"), ("tenant", "week"), ("user", "day")]
)
async def test_each_threshold_is_told_once_however_many_send_at_once(
    serve: Serve, receiver: Receiver, of: str, period: str
) -> None:
    async with serve(CostlyProvider(), **SERVED) as (app, client):
        acme = await make_tenant(client)
        made = await make_key(client, acme.user, WRITES)
        holder = {"tenant": "", "user": acme.user.id, "key": made["id"]}[of]
        await tell(client, acme, receiver.url)
        budget = await set_budget(client, acme, of, period, 20 * CLAIM, holder)
        answers = await asyncio.gather(*(send_with(client, bearer(made["key"])) for _ in range(50)))
        await deliver(app)

    assert sum(answer.status_code == 201 for answer in answers) == 20
    events = sorted(told(receiver), key=lambda event: event["threshold"])
    assert [(event["threshold"], event["percent"]) for event in events] == [(50, 50), (80, 80), (100, 100)]
    assert [event["spent_micro_usd"] for event in events] == [10 * CLAIM, 16 * CLAIM, 20 * CLAIM]
    for event in events:
        assert (event["budget"], event["period"], event["limit_micro_usd"]) == (of, period, 20 * CLAIM)
        assert event["api_key_id"] == (made["id"] if of == "key" else None)
        assert event["user_id"] == (None if of == "tenant" else acme.user.id)
        assert event["resets_at"][:10] == budget["resets_at"][:10]
    assert acme.id.encode() not in b"".join(content for _, content in receiver.calls)
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 3


async def test_what_is_due_is_told_by_another_process_and_again_until_it_is_taken(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    receiver.statuses = [500]
    async with serve(CostlyProvider(), **SERVED) as (_, client):
        acme = await make_tenant(client)
        await tell(client, acme, receiver.url)
        await set_budget(client, acme, "tenant", "day", 2 * CLAIM)
        assert (await send_with(client, acme.user.headers)).status_code == 201
        noted = await superuser.fetchrow("SELECT * FROM budget_alerts WHERE tenant_id = $1", acme.id)
        assert (noted["threshold"], noted["spent_micro_usd"]) == (50, CLAIM)
    again = "UPDATE budget_alerts SET due_at = now() WHERE tenant_id = $1 AND due_at IS NOT NULL"
    await superuser.execute(again, acme.id)  # whoever claimed it is gone
    async with serve(CostlyProvider(), **SERVED) as (app, _):

        async def taken() -> bool:
            await deliver(app)
            return await superuser.execute(again, acme.id) == "UPDATE 0"

        await until(taken, "the event to be taken")
    assert [event["threshold"] for event in told(receiver)] == [50, 50]
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    row = await superuser.fetchrow("SELECT * FROM budget_alerts WHERE tenant_id = $1", acme.id)
    assert (row["attempts"], row["due_at"]) == (2, None)


async def test_a_tenant_without_url_is_told_nothing_and_a_lower_limit_tells_at_once(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    async with serve(CostlyProvider(), **SERVED) as (app, client):
        acme = await make_tenant(client)
        await set_budget(client, acme, "tenant", "day", 10 * CLAIM)
        for _ in range(8):
            assert (await send_with(client, acme.user.headers)).status_code == 201
        assert await superuser.fetchval("SELECT count(*) FROM budget_alerts WHERE tenant_id = $1", acme.id) == 0
        await tell(client, acme, receiver.url)
        await set_budget(client, acme, "tenant", "day", 8 * CLAIM)
        await deliver(app)
        assert [event["threshold"] for event in told(receiver)] == [100]
        await set_budget(client, acme, "tenant", "day", 100 * CLAIM)
        await tell(client, acme, None)
        await set_budget(client, acme, "tenant", "day", 16 * CLAIM)
        await deliver(app)
    assert len(receiver.calls) == 1


async def test_alerts_go_with_the_user_and_with_the_key(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    async with serve(CostlyProvider(), **SERVED) as (_, client):
        acme = await make_tenant(client)
        made = await make_key(client, acme.user, WRITES)
        await tell(client, acme, receiver.url)
        await set_budget(client, acme, "key", "day", 2 * CLAIM, made["id"])
        await set_budget(client, acme, "user", "month", 2 * CLAIM, acme.user.id)
        assert (await send_with(client, bearer(made["key"]))).status_code == 201
        kinds = "SELECT kind FROM budget_alerts WHERE tenant_id = $1 ORDER BY kind"
        assert [row["kind"] for row in await superuser.fetch(kinds, acme.id)] == ["key", "user"]
        revoked = await client.delete(f"/api-keys/{made['id']}", headers=acme.user.headers)
        assert revoked.status_code == 204
        assert [row["kind"] for row in await superuser.fetch(kinds, acme.id)] == ["user"]
        assert (await client.delete(f"/admin/users/{acme.user.id}", headers=acme.admin.headers)).status_code == 204
        assert await superuser.fetch(kinds, acme.id) == []


async def test_every_budget_that_refuses_is_told_as_spent_once_and_by_whom_it_is(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_refusals, "REMEMBERED_SECONDS", 0.0)
    async with serve(CostlyProvider(), **SERVED) as (app, client):
        for of in ("tenant", "user", "key"):
            for period in ("day", "week", "month"):
                acme = await make_tenant(client)
                made = await make_key(client, acme.user, WRITES)
                holder = {"tenant": "", "user": acme.user.id, "key": made["id"]}[of]
                await tell(client, acme, receiver.url)
                await set_budget(client, acme, of, period, CLAIM * 3 // 2, holder)
                sent = [(await send_with(client, bearer(made["key"]))).status_code for _ in range(3)]
                assert sent == [201, 402, 402]
                await deliver(app)
                events = sorted(told(receiver), key=lambda event: event["threshold"])
                assert [(event["threshold"], event["percent"]) for event in events] == [(50, 66), (100, 66)]
                assert {(event["budget"], event["period"]) for event in events} == {(of, period)}
                assert {event["spent_micro_usd"] for event in events} == {CLAIM}
                assert {event["api_key_id"] for event in events} == {made["id"] if of == "key" else None}
                receiver.calls.clear()
        # It is spent to its end after all: of that the 80 % are new.
        await set_budget(client, acme, of, period, CLAIM, holder)
        await deliver(app)
        assert [event["threshold"] for event in told(receiver)] == [80]
        assert await superuser.fetchval("SELECT count(*) FROM budget_alerts WHERE tenant_id = $1", acme.id) == 3


async def test_a_refusal_is_noted_where_there_is_a_url_and_of_what_the_whole_budget_would_cover(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    async with serve(CostlyProvider(), **SERVED) as (app, client):
        acme, other = await make_tenant(client), await make_tenant(client)
        await set_budget(client, acme, "tenant", "day", CLAIM)
        assert (await send_with(client, acme.user.headers)).status_code == 201
        assert (await send_with(client, acme.user.headers)).status_code == 402
        await tell(client, acme, receiver.url)
        await tell(client, other, receiver.url)
        await set_budget(client, other, "tenant", "day", CLAIM - 1)
        assert (await send_with(client, other.user.headers)).status_code == 402
        of_both = "SELECT tenant_id, threshold FROM budget_alerts WHERE tenant_id IN ($1, $2)"
        assert await superuser.fetch(of_both, acme.id, other.id) == []
        # Of the first it is remembered that it was noted, and in another process it is not.
        assert (await send_with(client, acme.user.headers)).status_code == 402
        assert await superuser.fetch(of_both, acme.id, other.id) == []
        app.state.container.shared.refusals._noted.clear()
        assert (await send_with(client, acme.user.headers)).status_code == 402
        noted = await superuser.fetch(of_both, acme.id, other.id)
    assert [tuple(row) for row in noted] == [(acme.id, 100)]


async def test_of_who_is_retried_for_the_owners_budget_is_told(serve: Serve, receiver: Receiver) -> None:
    failing = FailingProvider(ProviderUnavailable())
    async with serve(failing, **SERVED) as (app, client):
        acme = await make_tenant(client)
        await tell(client, acme, receiver.url)
        failed = await send_with(client, acme.user.headers)
        app.state.container.engine.llm = service_of(CostlyProvider(), PAID["llm_prices"], PAID["llm_max_output_tokens"])
        await set_budget(client, acme, "user", "month", CLAIM + 1, acme.user.id)
        await set_budget(client, acme, "user", "month", CLAIM + 1, acme.admin.id)
        assert (await send_with(client, acme.user.headers)).status_code == 201
        await deliver(app)
        receiver.calls.clear()
        path = f"/messages/{failed.json()['message_id']}/retry"
        assert (await client.post(path, headers=acme.admin.headers)).status_code == 402
        await deliver(app)
    assert [(event["user_id"], event["threshold"]) for event in told(receiver)] == [(acme.user.id, 100)]
