"""What is embedded counts in the usage, and where it has a price in the budgets, which nothing overshoots."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.provider_errors import ProviderUnavailable
from app.core.settings.llm import Price
from app.documents.embedding.embedders import Embedders
from app.documents.ingestion import Ingestion
from app.documents.metering import Meter
from app.documents.reembedding import Reembedding
from app.documents.shapes import Embedded, Kind
from app.documents.totals import Quotas
from app.llm.pricing import PriceTable
from app.services.budget_service import SpendingCeiling
from tests.api.problems import assert_problem
from tests.committed.test_budgets import figures, set_budget
from tests.conftest import own_database
from tests.documents.library import FREE, HashEmbedder, publish
from tests.documents.test_ingestion import app, client, shown, upload
from tests.helpers import Tenant, join, make_tenant
from tests.waiting import until

database_url, settings, superuser = own_database()
__all__ = ["app", "client"]
QUOTAS = Quotas(1000, 10**9, 10_000, 10_000)
TEXT = "\n\n".join(f"Paragraph {n} is about machine number {n}. " + "It runs and it rests. " * 40 for n in range(12))
# A micro-dollar for a token.
PRICES = PriceTable({"paid": Price(input=1_000_000, output=0), "next": Price(input=1_000_000, output=0)})
QUESTION = "Which machine rests?"
MOST, COST = len(QUESTION), 4


def priced(name: str = "paid") -> HashEmbedder:
    return HashEmbedder(name, is_free=False)


@pytest.fixture
def meter() -> Meter:
    return Meter(PRICES, SpendingCeiling(None))


def embedding_by(app: FastAPI, embedder: HashEmbedder, meter: Meter) -> Ingestion:
    """The service's searches and an ingestion, of this embedder."""
    usual, embedders = app.state.container, Embedders(embedder)
    app.state.container = replace(usual, shared=replace(usual.shared, embedders=embedders, meter=meter))
    return Ingestion(usual.database, embedders, QUOTAS, meter)


async def search(client: httpx.AsyncClient, member: Any, query: str = QUESTION) -> httpx.Response:
    return await client.post("/search", json={"query": query}, headers=member.headers)


async def usage(client: httpx.AsyncClient, tenant: Tenant, group_by: str) -> dict[str | None, tuple[int, int, int]]:
    """(messages, tokens embedded, cost of that) by key."""
    answer = await client.get("/usage", params={"group_by": group_by}, headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text
    names = ("messages", "embedding_tokens", "embedding_cost_micro_usd")
    return {row["key"]: tuple(row[name] for name in names) for row in answer.json()}


async def test_what_is_free_counts_by_user_and_model_and_in_no_budget(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    acme = await make_tenant(client)
    embedder = HashEmbedder("free of charge")
    working = embedding_by(app, embedder, FREE)
    await set_budget(client, acme, 0)
    await upload(client, acme.user, TEXT)
    await working.take_all()
    of_document = sum(len(embedder.token_spans(text)) for _, text in embedder.embedded)
    for member in (acme.user, acme.admin, acme.admin):
        assert (await search(client, member)).status_code == 200
    await set_budget(client, acme, None)
    sent = await client.post("/messages", json={"content": QUESTION, "documents": True}, headers=acme.admin.headers)
    assert sent.status_code == 201, sent.text

    assert await usage(client, acme, "user") == {
        acme.user.id: (0, of_document + COST, 0),
        acme.admin.id: (1, 3 * COST, 0),
    }
    by_model = await usage(client, acme, "model")
    assert by_model["free of charge"] == (0, of_document + 4 * COST, 0)
    assert [tokens for _, tokens, _ in (await usage(client, acme, "day")).values()] == [of_document + 4 * COST]
    cost = sum(row["cost_micro_usd"] for row in (await client.get("/usage", headers=acme.admin.headers)).json())
    assert await figures(superuser, acme) == [(cost, 0)]


async def test_what_has_a_price_is_spent_from_both_budgets_as_the_usage_says(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    acme = await make_tenant(client)
    embedder = priced()
    working = embedding_by(app, embedder, meter)
    await upload(client, acme.user, TEXT)
    await working.take_all()
    of_document = sum(len(embedder.token_spans(text)) for _, text in embedder.embedded)
    # One that begins now knows what was spent before.
    await set_budget(client, acme, 10**6)
    await set_budget(client, acme, 10**6, acme.user.id)
    assert await figures(superuser, acme) == [(of_document, 0), (of_document, 0)]
    for member in (acme.user, acme.admin):
        assert (await search(client, member)).status_code == 200

    assert await figures(superuser, acme) == [(of_document + 2 * COST, 0), (of_document + COST, 0)]
    rows = (await client.get("/usage?group_by=model", headers=acme.admin.headers)).json()
    assert [(row["key"], row["cost_micro_usd"], row["messages"]) for row in rows] == [
        ("paid", of_document + 2 * COST, 0)
    ]


async def test_searches_at_once_never_overshoot_a_budget(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    acme = await make_tenant(client)
    users = [acme.user, await join(client, acme.id)]
    embedder = priced()
    embedding_by(app, embedder, meter)
    limit = 6 * COST + MOST
    await set_budget(client, acme, limit)
    highest = 0

    async def ask(n: int) -> int:
        nonlocal highest
        answer = await search(client, users[n % 2])
        ((spent, _),) = await figures_of(superuser, acme)
        highest = max(highest, spent)
        return answer.status_code

    statuses = await asyncio.gather(*(ask(n) for n in range(40)))
    assert set(statuses) == {200, 402}
    assert 0 < highest <= limit
    ((spent, _),) = await figures(superuser, acme)
    # None was asked for who was refused; and what is left does not cover the most that another can cost.
    assert spent == COST * statuses.count(200) == COST * len(embedder.embedded)
    assert_problem(await search(client, acme.user, "word " * 100), 402)


async def test_claims_that_meet_at_a_budget_are_all_spent(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    acme = await make_tenant(client)
    embedding_by(app, priced(), meter)
    await set_budget(client, acme, 10**6)
    async with superuser.transaction():
        await superuser.execute("SELECT FROM budgets WHERE tenant_id = $1 FOR UPDATE", acme.id)
        asking = [asyncio.create_task(search(client, acme.user)) for _ in range(2)]
        await until(lambda: two_wait(superuser), "both to wait at the budget")
    assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200, 200]
    assert await figures(superuser, acme) == [(2 * COST, 0)]


async def two_wait(superuser: asyncpg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    found: int = await superuser.fetchval(waiting)
    return found == 2


LOCK = asyncio.Lock()


async def figures_of(superuser: asyncpg.Connection, tenant: Tenant) -> list[tuple[int, int]]:
    async with LOCK:
        return await figures(superuser, tenant)


async def test_a_document_that_no_budget_covers_fails_before_any_of_it_is_embedded(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    acme = await make_tenant(client)
    embedder = priced()
    working = embedding_by(app, embedder, meter)
    # Enough for the first call and not for all.
    await set_budget(client, acme, 10_000, acme.user.id)
    document = await upload(client, acme.user, TEXT * 12)
    await working.take_all()

    failed = await shown(client, acme.user, document)
    assert (failed["status"], failed["error_code"]) == ("failed", "budget")
    assert "budget" in failed["error"]
    assert embedder.embedded == []
    assert await figures(superuser, acme) == [(0, 0)]
    document = await upload(client, acme.admin, TEXT * 12)
    await working.take_all()
    assert (await shown(client, acme.admin, document))["status"] == "ready"


async def test_a_model_without_a_price_is_asked_where_nothing_limits_what_is_spent(
    app: FastAPI, client: httpx.AsyncClient, meter: Meter
) -> None:
    acme = await make_tenant(client)
    working = embedding_by(app, priced("nobody knows its price"), meter)
    document = await upload(client, acme.user, TEXT)
    await working.take_all()
    assert (await shown(client, acme.user, document))["status"] == "ready"
    await set_budget(client, acme, 10**9)

    assert_problem(await search(client, acme.user), 409)
    document = await upload(client, acme.user, TEXT + TEXT)
    await working.take_all()
    assert (await shown(client, acme.user, document))["error_code"] == "no_price"


async def test_an_embedder_that_fails_costs_nothing(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    class Failing(HashEmbedder):
        async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
            ((spent, _),) = await figures(superuser, acme)
            assert spent == MOST
            raise ProviderUnavailable

    acme = await make_tenant(client)
    await set_budget(client, acme, 10**6)
    embedding_by(app, Failing("paid", is_free=False), meter)
    assert_problem(await search(client, acme.user), 503)
    assert await figures(superuser, acme) == [(0, 0)]
    assert await usage(client, acme, "user") == {}


async def test_a_changed_model_is_paid_by_the_tenant_and_held_up_by_no_budget(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    acme = await make_tenant(client)
    database, old, new = app.state.container.database, HashEmbedder(f"old {acme.id}"), priced("next")
    await publish(database, acme.user, TEXT, embedder=old)
    await set_budget(client, acme, 0)
    await set_budget(client, acme, 0, acme.user.id)

    await Reembedding(database, Embedders(new, [old]), meter).take_all()

    tokens = sum(len(new.token_spans(text)) for _, text in new.embedded)
    assert tokens > 1000
    assert await figures(superuser, acme) == [(tokens, 0), (0, 0)]
    assert await usage(client, acme, "user") == {None: (0, tokens, tokens)}


async def test_the_operators_ceiling_holds_for_who_has_no_budget(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection
) -> None:
    acme = await make_tenant(client)
    working = embedding_by(app, priced(), Meter(PRICES, SpendingCeiling(100)))
    document = await upload(client, acme.user, TEXT)
    await working.take_all()
    assert (await shown(client, acme.user, document))["error_code"] == "budget"
    assert (await search(client, acme.user)).status_code == 200
    assert await figures(superuser, acme) == [(COST, 0)]
    assert_problem(await search(client, acme.user, "word " * 100), 402)


async def test_a_month_that_is_over_is_charged_nothing_any_more(
    app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection, meter: Meter
) -> None:
    """A call over midnight: its claim is of the month before."""

    class OverMidnight(HashEmbedder):
        async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
            later = "UPDATE budgets SET period = period + interval '1 month', spent_micro_usd = 7 WHERE tenant_id = $1"
            await superuser.execute(later, acme.id)
            return await super().embed(texts, kind)

    acme = await make_tenant(client)
    await set_budget(client, acme, 10**6)
    embedding_by(app, OverMidnight("paid", is_free=False), meter)
    assert (await search(client, acme.user)).status_code == 200
    assert await figures(superuser, acme) == [(7, 0)]


async def test_the_runtime_role_may_not_write_what_was_embedded(superuser: asyncpg.Connection) -> None:
    for right in ("INSERT", "UPDATE", "DELETE"):
        granted = "SELECT has_table_privilege('llm_saas_app', 'embedding_hours', $1)"
        assert not await superuser.fetchval(granted, right)
