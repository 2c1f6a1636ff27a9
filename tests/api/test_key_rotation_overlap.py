"""Replacing an API key: the new one may what the old one might, and the old one ends when it was said to."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from app.services import api_key_service
from tests.api.problems import assert_kind
from tests.api.test_api_keys import make_key
from tests.helpers import Member, Tenant
from tests.sessions import actions_of, status_of


async def rotate(
    client: httpx.AsyncClient, member: Member, key_id: str, overlap: int | None = None, once: str = ""
) -> httpx.Response:
    body = {} if overlap is None else {"overlap_seconds": overlap}
    headers = {**member.headers, "Idempotency-Key": once} if once else member.headers
    return await client.post(f"/api-keys/{key_id}/rotate", json=body, headers=headers)


async def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_both_work_for_the_overlap_and_the_new_one_is_as_the_old_one(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    expires = datetime.now(UTC) + timedelta(days=40)
    old = await make_key(client, acme.user, ["messages:read"], expires_at=expires.isoformat())
    before = datetime.now(UTC)
    new = await made(await rotate(client, acme.user, old["id"], 3600))
    assert new["key"] != old["key"]
    same = ("name", "scopes", "user_id", "expires_at")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    assert new["last_used_at"] is None
    assert new["prefix"] == new["key"][:12]
    assert await status_of(client, old["key"]) == await status_of(client, new["key"]) == 200
    listed = {row["id"]: row for row in (await client.get("/api-keys", headers=acme.user.headers)).json()}
    ends = datetime.fromisoformat(listed[old["id"]]["expires_at"])
    assert before + timedelta(seconds=3590) < ends < datetime.now(UTC) + timedelta(seconds=3610)
    await superuser.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", old["id"])
    assert await status_of(client, old["key"]) == 401
    assert await status_of(client, new["key"]) == 200
    details = await superuser.fetchval(
        "SELECT details FROM audit_log WHERE tenant_id = $1 AND action = 'api_key.rotated' AND target_id = $2",
        acme.id,
        old["id"],
    )
    assert details == f'{{"new_key_id": "{new["id"]}", "overlap_seconds": 3600}}'


async def test_without_an_overlap_the_old_one_ends_at_its_next_request(client: httpx.AsyncClient, acme: Tenant) -> None:
    old = await make_key(client, acme.user, ["messages:read"])
    assert await status_of(client, old["key"]) == 200
    new = await made(await rotate(client, acme.user, old["id"], 0))
    assert await status_of(client, old["key"]) == 401
    assert await status_of(client, new["key"]) == 200
    assert_kind(await rotate(client, acme.user, old["id"]), 404, "not-found")


async def test_an_overlap_does_not_prolong_a_key(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = await make_key(client, acme.user, ["messages:read"], expires_at=soon.isoformat())
    await made(await rotate(client, acme.user, old["id"], 86400))
    assert await superuser.fetchval("SELECT expires_at FROM api_keys WHERE id = $1", old["id"]) == soon


async def test_sent_again_it_is_the_same_key_and_nowhere_stored(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    old = await make_key(client, acme.user, ["messages:read"])
    once = new_id()
    answers = await asyncio.gather(*(rotate(client, acme.user, old["id"], 60, once) for _ in range(5)))
    keys = {(await made(answer))["key"] for answer in answers}
    assert len(keys) == 1
    (key,) = keys
    assert (await made(await rotate(client, acme.user, old["id"], 60, once)))["key"] == key
    assert await status_of(client, key) == 200
    assert (await actions_of(superuser, acme.id)).count("api_key.rotated") == 1
    assert_kind(await rotate(client, acme.user, old["id"], 61, once), 422, "idempotency-key-reused")
    rows = await superuser.fetch("SELECT t::text FROM api_keys t WHERE tenant_id = $1", acme.id)
    rows += await superuser.fetch("SELECT t::text FROM idempotency_keys t WHERE tenant_id = $1", acme.id)
    assert key not in " ".join(row[0] for row in rows)
    other = await made(await rotate(client, acme.user, old["id"], 60, new_id()))
    assert other["key"] != key


async def test_a_replay_of_a_successor_that_was_revoked_is_none(client: httpx.AsyncClient, acme: Tenant) -> None:
    old, once = await make_key(client, acme.user, ["messages:read"]), new_id()
    new = await made(await rotate(client, acme.user, old["id"], 60, once))
    assert (await client.delete(f"/api-keys/{new['id']}", headers=acme.user.headers)).status_code == 204
    assert_kind(await rotate(client, acme.user, old["id"], 60, once), 404, "not-found")


async def test_its_own_alone_not_even_an_admin_replaces_anothers(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    old = await make_key(client, acme.user, ["messages:read"])
    for member in (acme.admin, rival.user, rival.admin):
        assert_kind(await rotate(client, member, old["id"]), 404, "not-found")
    assert_kind(await rotate(client, acme.user, "nonsense"), 404, "not-found")
    by_key = await client.post(
        f"/api-keys/{old['id']}/rotate", json={}, headers={"Authorization": f"Bearer {old['key']}"}
    )
    assert_kind(by_key, 403, "session-required")


@pytest.mark.parametrize("overlap", [-1, 30 * 86400 + 1, 1.5, "60"])
async def test_an_overlap_is_whole_seconds_up_to_thirty_days(
    client: httpx.AsyncClient, acme: Tenant, overlap: Any
) -> None:
    old = await make_key(client, acme.user, ["messages:read"])
    assert_kind(await rotate(client, acme.user, old["id"], overlap), 422, "invalid-input")


async def test_a_line_of_keys_has_its_budget_together_and_leaves_none_behind(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    first = await make_key(client, acme.user, ["messages:read", "messages:write"])
    budget = {"limit_micro_usd": 0, "period": "day"}
    await client.put(f"/admin/api-keys/{first['id']}/budget", json=budget, headers=acme.admin.headers)
    second = await made(await rotate(client, acme.user, first["id"]))
    third = await made(await rotate(client, acme.user, second["id"]))
    for key in (first, second, third):
        headers = {"Authorization": f"Bearer {key['key']}"}
        assert (await client.post("/messages", json={"content": "x"}, headers=headers)).status_code == 402
        path = f"/admin/api-keys/{key['id']}/budget"
        shown = (await client.get(path, params={"period": "day"}, headers=acme.admin.headers)).json()
        assert shown["limit_micro_usd"] == 0
    left = "SELECT count(*) FROM period_budgets WHERE tenant_id = $1"
    for key, budgets in ((first, 1), (third, 1), (second, 0)):
        assert (await client.delete(f"/api-keys/{key['id']}", headers=acme.user.headers)).status_code == 204
        assert await superuser.fetchval(left, acme.id) == budgets


async def test_who_replaces_a_key_every_day_does_not_run_out_of_keys(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_service, "KEYS_PER_USER", 3)
    key = await make_key(client, acme.user, ["messages:read"])
    for _ in range(4):
        key = await made(await rotate(client, acme.user, key["id"], 0))
        await superuser.execute(
            "UPDATE api_keys SET expires_at = expires_at - interval '25 hours' WHERE tenant_id = $1", acme.id
        )
    await make_key(client, acme.user, ["messages:read"])
    monkeypatch.setattr(api_key_service, "KEYS_PER_USER", 2)
    assert_kind(await rotate(client, acme.user, key["id"], 0), 409, "too-many-api-keys")
