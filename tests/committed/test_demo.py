"""`make demo`: what is put there adds up, and stays the firm's alone."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.application import create_app, lifespan
from demo import firm
from demo import seed as seeding
from demo.seed import Refused, is_there, seed
from tests.conftest import client_of, dsn, make_settings
from tests.helpers import PASSWORD, log_in
from tests.own_database import own_database

COSTS = """
SELECT count(*), sum(cost_micro_usd)::bigint FROM (
  SELECT cost_micro_usd FROM messages UNION ALL SELECT cost_micro_usd FROM deleted_usage) AS all_of_them
"""


@pytest.fixture
def _some_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read in a process of its own."""
    for name in ("terms.md", "winter-plan.docx"):
        shutil.copy(seeding.FILES / name, tmp_path)
    monkeypatch.setattr(seeding, "FILES", tmp_path)


@pytest.mark.usefixtures("_some_files")
async def test_the_firm_is_put_there_once_and_all_sums_agree(
    template_url: URL, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with own_database(template_url) as database:
        settings = make_settings(database.url, tmp_path_factory.mktemp("data"), **firm.SETTINGS, background_work=True)
        owner = await asyncpg.connect(dsn(database.url))
        app = create_app(settings)
        async with lifespan(app), client_of(app) as client:
            # As a run leaves it that was killed.
            left = {"name": firm.UNFINISHED, "admin": {"email": firm.ADMIN.email, "password": PASSWORD}}
            assert (await client.post("/create-tenant", json=left)).status_code == 201
            assert not await is_there(owner)

            await seed(app, owner, PASSWORD, lambda _: None)

            assert await is_there(owner)
            await _agrees(client, owner)
            await _shows_every_kind(client, owner)
        await owner.close()


async def _agrees(client: httpx.AsyncClient, owner: asyncpg.Connection) -> None:
    """The usage, the budgets and the messages, by the service's own counting."""
    headers = (await log_in(client, firm.ADMIN.email)).headers
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    async def used(since: datetime, group_by: str) -> dict[str | None, tuple[int, int]]:
        query = {"from": since.isoformat(), "to": now.isoformat(), "group_by": group_by}
        rows = (await client.get("/usage", params=query, headers=headers)).raise_for_status().json()
        return {row["key"]: (row["messages"], row["cost_micro_usd"]) for row in rows}

    count, cost = await owner.fetchrow(COSTS)
    for grouping in ("day", "user", "model"):
        found = (await used(now - timedelta(days=firm.DAYS + 1), grouping)).values()
        assert (sum(messages for messages, _ in found), sum(costs for _, costs in found)) == (count, cost)
    assert count > 1_000
    by_user = await used(month, "user")
    budget = (await client.get("/admin/budget", headers=headers)).json()
    assert budget["spent_micro_usd"] == sum(costs for _, costs in by_user.values())
    for user_id, (_, costs) in by_user.items():
        answer = await client.get(f"/admin/users/{user_id}/budget", headers=headers)
        assert answer.json()["spent_micro_usd"] == costs
    # On the first of a month there may be nothing to take a share of.
    assert budget["spent_micro_usd"] <= 0.8 * budget["limit_micro_usd"]


async def _shows_every_kind(client: httpx.AsyncClient, owner: asyncpg.Connection) -> None:
    jonas = (await log_in(client, firm.USER.email)).headers
    documents = (await client.get("/documents", headers=jonas)).json()
    assert {each["status"] for each in documents} == {"ready", "failed"}
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE jsonb_array_length(citations) > 0") == 3
    called = 'SELECT message_id FROM message_contents WHERE output @> \'[{"type": "tool_call"}]\''
    message = (await client.get(f"/messages/{await owner.fetchval(called)}", headers=jonas)).json()
    assert (message["finish_reason"], message["tool_calls"][0]["name"]) == ("tool_calls", "find_parcel")
    statuses = await owner.fetch("SELECT DISTINCT status, cached, attempts > 1 AS again FROM messages")
    assert {row["status"] for row in statuses} == {"completed", "failed", "cancelled"}
    assert any(row["cached"] for row in statuses)
    assert any(row["again"] for row in statuses)
    assert await owner.fetchval("SELECT count(*) FROM users WHERE disabled_at IS NOT NULL") == 1


async def test_it_is_put_beside_others_only_when_told_so(superuser: asyncpg.Connection, acme: object) -> None:
    with pytest.raises(Refused, match="Other tenants live in this database"):
        await is_there(superuser)
    assert not await is_there(superuser, beside_others=True)


async def test_it_needs_a_login_that_may_write_the_past(superuser: asyncpg.Connection) -> None:
    async with superuser.transaction():
        await superuser.execute("SET LOCAL ROLE llm_saas_app")
        with pytest.raises(Refused, match="MIGRATION_DATABASE_URL"):
            await is_there(superuser)
