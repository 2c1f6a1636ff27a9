"""Usage of days that are added up is what counting the messages gives, whatever has happened to them since."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.helpers import Tenant

SUMS = ("input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def store(superuser: asyncpg.Connection, tenant: Tenant, days_ago: int, hour: int, **columns: Any) -> str:
    row = {
        "id": new_id(), "tenant_id": tenant.id, "user_id": tenant.user.id, "content": "x", "status": "completed",
        "model": "a", "input_tokens": 3, "output_tokens": 5, "cost_micro_usd": 7,
        "created_at": TODAY - timedelta(days=days_ago) + timedelta(hours=hour), **columns,
    }  # fmt: skip
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await superuser.execute(f"INSERT INTO messages ({', '.join(row)}) VALUES ({places})", *row.values())
    return str(row["id"])


async def counted(superuser: asyncpg.Connection, tenant: Tenant, since: datetime, until: datetime) -> dict[str, Any]:
    """Of the messages and the deleted ones, one by one, by each grouping."""
    columns = f"created_at, user_id, model, cached, {', '.join(SUMS)}"
    rows = await superuser.fetch(
        f"SELECT * FROM (SELECT tenant_id, {columns} FROM messages"
        f"  UNION ALL SELECT tenant_id, {columns} FROM deleted_usage) AS used"
        " WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3",
        tenant.id, since, until,
    )  # fmt: skip
    found: dict[str, Any] = {"day": {}, "user": {}, "model": {}, "day,model": {}}
    for row in rows:
        day = row["created_at"].astimezone(UTC).date().isoformat()
        keys = {"day": day, "user": row["user_id"], "model": row["model"]}
        for grouping, key in {
            **{name: (of, None) for name, of in keys.items()},
            "day,model": (day, row["model"]),
        }.items():
            sums = found[grouping].setdefault(key, Counter(messages=0, embedding_tokens=0, embedding_cost_micro_usd=0))
            sums.update({"messages": 1, "cache_hits": row["cached"], **{name: row[name] or 0 for name in SUMS}})
    return found


async def assert_counted(client: httpx.AsyncClient, superuser: asyncpg.Connection, tenant: Tenant) -> None:
    for since, until in (
        (TODAY - timedelta(days=90), TODAY + timedelta(days=1)),
        (TODAY - timedelta(days=5, hours=13), TODAY - timedelta(days=1, hours=2)),
        (TODAY - timedelta(days=5), TODAY - timedelta(days=1)),
        (TODAY - timedelta(days=3, hours=-1), TODAY - timedelta(days=3, hours=-20)),
        (TODAY, TODAY + timedelta(days=1)),
        (TODAY - timedelta(days=1), TODAY - timedelta(days=4)),
    ):
        expected = await counted(superuser, tenant, since, until)
        for grouping in ("day", "user", "model", "day,model"):
            query = {"from": since.isoformat(), "to": until.isoformat(), "group_by": grouping}
            answer = await client.get("/usage", params=query, headers=tenant.admin.headers)
            assert answer.status_code == 200, answer.text
            shown = {(row.pop("key"), row.pop("model")): row for row in answer.json()}
            assert shown == {key: dict(sums) for key, sums in expected[grouping].items()}, (since, until, grouping)


async def ends(superuser: asyncpg.Connection, tenant: Tenant) -> Any:
    return await superuser.fetchval("SELECT day FROM usage_ends WHERE tenant_id = $1", tenant.id)


@pytest.fixture
async def used(superuser: asyncpg.Connection, acme: Tenant) -> list[str]:
    """Messages of two months by two users, with two models and none."""
    return [
        await store(
            superuser,
            acme,
            days_ago,
            hour,
            user_id=(acme.admin if hour == 4 else acme.user).id,
            status="failed" if hour == 23 else "completed",
            model=(None if hour == 23 else "ab"[days_ago % 2]),
            cached=hour == 12,
        )
        for days_ago in (1, 2, 3, 4, 5, 6, 40, 60)
        for hour in (0, 4, 12, 23)
    ]


async def test_days_that_are_over_are_added_up_to_what_their_messages_say(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, used: list[str]
) -> None:
    await assert_counted(client, superuser, acme)
    assert TODAY.date() - timedelta(days=1) <= await ends(superuser, acme) <= TODAY.date()
    assert await superuser.fetchval("SELECT count(*) FROM usage_days WHERE tenant_id = $1", acme.id) >= 3 * 7


async def test_what_changes_in_a_day_that_is_added_up_is_counted_anew(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, used: list[str]
) -> None:
    await assert_counted(client, superuser, acme)
    await client.delete(f"/messages/{used[0]}", headers=acme.admin.headers)
    await assert_counted(client, superuser, acme)

    retried = await client.post(f"/messages/{used[11]}/retry", headers=acme.admin.headers)
    assert retried.status_code == 200, retried.text
    assert await ends(superuser, acme) == TODAY.date() - timedelta(days=3)
    await assert_counted(client, superuser, acme)
    assert await ends(superuser, acme) > TODAY.date() - timedelta(days=3)

    await store(superuser, acme, 50, 9)
    await superuser.execute("UPDATE messages SET cost_micro_usd = 1000 WHERE id = $1", used[20])
    await assert_counted(client, superuser, acme)


async def test_a_day_with_a_message_that_runs_is_not_over(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, used: list[str]
) -> None:
    running = await store(superuser, acme, 4, 13, status="pending", input_tokens=None, cost_micro_usd=None)
    await assert_counted(client, superuser, acme)
    assert await ends(superuser, acme) == TODAY.date() - timedelta(days=4)
    await superuser.execute("UPDATE messages SET status = 'completed', input_tokens = 99 WHERE id = $1", running)
    await assert_counted(client, superuser, acme)


async def test_the_runtime_role_may_not_write_the_sums(superuser: asyncpg.Connection) -> None:
    for table in ("usage_days", "usage_ends"):
        for right in ("INSERT", "UPDATE", "DELETE"):
            assert not await superuser.fetchval("SELECT has_table_privilege('llm_saas_app', $1, $2)", table, right)
