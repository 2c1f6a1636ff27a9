"""Erasing a tenant while it lives: nothing of it is left, nobody of it gets in, and nobody else is touched."""

import asyncio
import itertools
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import URL

from app.core.ids import new_id
from app.core.settings.llm import Price
from app.db.session import Database
from app.services import erase_service
from app.services.erase_service import TenantEraser
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.sse import rest, sending
from tests.documents.library import in_every_table
from tests.helpers import PASSWORD, Tenant, make_tenant, send, unique_email
from tests.waiting import until, within_patience

Fingerprint = dict[str, tuple[int, str]]


async def fingerprint(superuser: asyncpg.Connection, tenant_id: str) -> Fingerprint:
    """Of every table of the catalog that holds rows of tenants: how many are this one's, and a hash of them."""
    columns = await superuser.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name <> 'directory_claims' "
        "AND (column_name = 'tenant_id' OR (table_name = 'tenants' AND column_name = 'id'))"
    )
    found = {}
    for table, column in columns:
        sql = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t WHERE {column} = $1"
        found[table] = tuple(await superuser.fetchrow(sql, tenant_id))
    return found


async def assert_nothing_left(superuser: asyncpg.Connection, tenant_id: str) -> None:
    left = {table: count for table, (count, _) in (await fingerprint(superuser, tenant_id)).items() if count}
    assert not left


async def erase(client: httpx.AsyncClient, tenant: Tenant) -> httpx.Response:
    return await client.delete(f"/tenants/{tenant.id}", params={"name": tenant.name}, headers=tenant.admin.headers)


async def furnish(client: httpx.AsyncClient, superuser: asyncpg.Connection, tenant: Tenant) -> dict[str, str]:
    """A row in every table; the credentials that must not open anything afterwards."""
    admin, user = tenant.admin.headers, tenant.user.headers
    await superuser.execute(
        "INSERT INTO budget_alerts (tenant_id, holder, period_unit, period, threshold, kind, limit_micro_usd,"
        " spent_micro_usd) VALUES ($1, '', 'month', '2026-01-01', 50, 'tenant', 10, 5)",
        tenant.id,
    )
    await client.put("/admin/budget", json={"limit_micro_usd": 10**9}, headers=admin)
    await client.put(f"/admin/users/{tenant.user.id}/budget", json={"limit_micro_usd": 10**9}, headers=admin)
    await client.put("/admin/budget", json={"limit_micro_usd": 10**9, "period": "day"}, headers=admin)
    body = {"api_key": "sk-of-the-tenants-own"}
    await client.put("/admin/providers/openai", params={"test": False}, json=body, headers=admin)
    talk = (await client.post("/conversations", json={}, headers={**user, "Idempotency-Key": "one"})).json()["id"]
    key = await client.post("/api-keys", json={"name": "a key", "scopes": ["messages:read"]}, headers=user)
    await client.post("/admin/invites", json={"email": unique_email()}, headers=admin)
    granted = (await client.post("/login", json={"email": tenant.user.email, "password": PASSWORD})).json()
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, conversation_id, content, status, webhook_url, webhook_due_at)"
        " VALUES ($1, $2, $3, $4, 'told', 'completed', 'https://hook.invalid/', now() + interval '1 hour')",
        new_id(),
        tenant.id,
        tenant.user.id,
        talk,
    )
    await superuser.execute(
        "INSERT INTO message_contents (tenant_id, message_id) SELECT tenant_id, id FROM messages WHERE tenant_id = $1",
        tenant.id,
    )
    await superuser.execute(
        "INSERT INTO deleted_usage (id, tenant_id, user_id) VALUES ($1, $2, $3)", new_id(), tenant.id, tenant.user.id
    )
    await superuser.execute(
        "INSERT INTO search_blocks (tenant_id, newest_at, newest_id, words) VALUES ($1, '2020-01-01', '', '')",
        tenant.id,
    )
    await superuser.execute(
        "INSERT INTO message_deltas (tenant_id, message_id, attempt, start, text) VALUES ($1, $2, 1, 0, 'left behind')",
        tenant.id,
        new_id(),
    )
    await in_every_table(superuser, tenant.user)
    await superuser.execute("INSERT INTO usage_ends (tenant_id, day) VALUES ($1, now())", tenant.id)
    await superuser.execute(
        "INSERT INTO usage_days VALUES ($1, now(), $2, '', 1, 0, 0, 0, 0)", tenant.id, tenant.user.id
    )
    return {"key": key.json()["key"], "refresh_token": granted["refresh_token"]}


async def test_nothing_is_left_of_a_tenant_that_lives_in_two_processes_and_another_is_untouched(
    listen: Serve, serve: Serve, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = structlog.testing.CapturingLogger()
    monkeypatch.setattr(erase_service, "logger", log)
    runs, other = HeldProvider(), HeldProvider()
    prices = {"held-1": Price(input=1, output=1)}
    async with (
        listen(runs, llm_prices=prices) as (app, first),
        serve(other, llm_prices=prices) as (second_app, second),
    ):
        acme, rival = await make_tenant(second), await make_tenant(second)
        credentials = await furnish(second, superuser, acme)
        await furnish(second, superuser, rival)
        # Of the rival nothing is in motion: what changes would be the erasure's doing.
        before = await fingerprint(superuser, rival.id)
        # A tenant with a row of that one has a file, too (`test_encrypted_text`).
        assert all(count for table, (count, _) in before.items() if table != "text_keys")

        async with sending(first, acme.user.headers) as events:
            stream = asyncio.create_task(rest(events))
            for client in (first, second):
                body = {"content": "x", "background": True, "webhook_url": "https://hook.invalid/"}
                assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 202
            await runs.wait_for_calls(2)
            await other.wait_for_calls(1)
            runs.say("some text")
            key = {"Authorization": f"Bearer {credentials['key']}"}
            assert (await first.get("/messages", headers=key)).status_code == 200

            answer = await erase(second, acme)

            assert (answer.status_code, answer.content) == (204, b"")
            # As its row is found: stopped like any other, or gone.
            assert (await within_patience(stream, "the end of the stream"))[-1].name in ("cancelled", "failed")
        await until(all_stopped(app, second_app), "the runs to stop")
        assert (runs.cancelled, other.cancelled) == (2, 1)
        await assert_nothing_left(superuser, acme.id)
        assert await fingerprint(superuser, rival.id) == before
        (noted,) = [call.kwargs for call in log.calls if call.args == ("tenant_erased",)]
        assert noted["tenant_id"] == acme.id
        assert (noted["messages"], noted["conversations"], noted["users"]) == (4, 1, 2)
        for client in (first, second):
            await assert_nobody_gets_in(client, acme, credentials)
        for service in (app, second_app):
            container = service.state.container
            assert acme.id not in {caller.tenant_id for caller in container.shared.api_keys._known.values()}
        assert (await second.post("/create-tenant", json={"name": acme.name})).status_code == 201


def all_stopped(*apps: FastAPI) -> Any:
    return lambda: not any(app.state.container.engine._running for app in apps)


async def assert_nobody_gets_in(client: httpx.AsyncClient, tenant: Tenant, credentials: dict[str, str]) -> None:
    newcomer = {"email": unique_email(), "password": PASSWORD, "tenant_id": tenant.id}
    refresh = {"refresh_token": credentials["refresh_token"]}
    key = {"Authorization": f"Bearer {credentials['key']}"}
    assert (await client.get("/me", headers=tenant.admin.headers)).status_code == 401
    assert (await client.get("/me", headers=tenant.user.headers)).status_code == 401
    assert (await client.get("/messages", headers=key)).status_code == 401
    login = {"email": tenant.admin.email, "password": PASSWORD}
    assert (await client.post("/login", json=login)).status_code == 401
    assert (await client.post("/refresh", json=refresh)).status_code == 401
    assert (await client.post("/register", json=newcomer)).status_code == 404
    assert (await erase(client, tenant)).status_code == 401


async def test_from_the_mark_on_nobody_gets_in_and_another_process_finishes(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, acme: Tenant
) -> None:
    credentials = await furnish(client, superuser, acme)
    await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE id = $1", acme.id)
    await assert_nobody_gets_in(client, acme, credentials)

    database = Database(database_url, pool_size=1)
    eraser = TenantEraser(database, batch_rows=1, batch_users=1)
    try:
        await eraser.finish_abandoned()  # somebody may still be at it
        assert (await fingerprint(superuser, acme.id))["users"][0] == 2
        await superuser.execute("UPDATE tenants SET erasing_at = now() - interval '2 minutes' WHERE id = $1", acme.id)
        await eraser.finish_abandoned()
    finally:
        await database.close()
    await assert_nothing_left(superuser, acme.id)


async def test_without_the_name_the_role_or_the_tenant_nothing_is_erased(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    await send(client, acme.user)
    before = await fingerprint(superuser, acme.id)
    path, name = f"/tenants/{acme.id}", {"name": acme.name}

    for wrong in (rival.name, acme.name.upper(), f"{acme.name} ", ""):
        refused = await client.delete(path, params={"name": wrong}, headers=acme.admin.headers)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:llm-saas:problem:name-not-confirmed")
    assert (await client.delete(path, headers=acme.admin.headers)).status_code == 422
    assert (await client.delete(path, params=name)).status_code == 401
    assert (await client.delete(path, params=name, headers=acme.user.headers)).status_code == 403
    assert (await client.delete(path, params=name, headers=rival.admin.headers)).status_code == 403
    made_up = await client.delete(f"/tenants/{new_id()}", params=name, headers=rival.admin.headers)
    assert made_up.status_code == 403

    assert await fingerprint(superuser, acme.id) == before
    assert (await client.get("/me", headers=acme.user.headers)).status_code == 200


async def test_users_who_never_stop_sending_do_not_outlive_their_tenant(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await client.put("/admin/budget", json={"limit_micro_usd": 10**12}, headers=acme.admin.headers)
    statuses: list[int] = []
    busy = asyncio.Event()

    async def keep_sending(number: int) -> None:
        for turn in itertools.count():
            headers = {**acme.user.headers, "Idempotency-Key": f"{number}-{turn}"}
            answer = await client.post("/messages", json={"content": "x"}, headers=headers)
            statuses.append(answer.status_code)
            if statuses.count(201) > 50:
                busy.set()
            if answer.status_code == 401:
                return

    senders = [asyncio.create_task(keep_sending(number)) for number in range(8)]
    await busy.wait()
    assert (await erase(client, acme)).status_code == 204
    await asyncio.gather(*senders)

    # 503: the answer of a message that was being answered has no place to go.
    assert set(statuses) <= {201, 401, 503}
    await assert_nothing_left(superuser, acme.id)


async def test_two_admins_who_erase_at_once_both_hear_that_it_is_done(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    answers = await asyncio.gather(erase(client, acme), erase(client, acme))
    assert {answer.status_code for answer in answers} <= {204, 401}
    assert 204 in {answer.status_code for answer in answers}
    await assert_nothing_left(superuser, acme.id)


async def test_a_message_whose_row_is_gone_is_stopped_although_nobody_said_so(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "background": True}
        assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 202
        await provider.wait_for_calls(1)
        await superuser.execute("DELETE FROM messages WHERE tenant_id = $1", acme.id)
        await until(all_stopped(app), "the run to stop")
    assert provider.cancelled == 1


async def test_a_process_that_hears_of_an_erasure_stops_what_runs_for_the_tenant_and_nothing_else(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider) as (app, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        for tenant in (acme, rival):
            body = {"content": "x", "background": True}
            assert (await client.post("/messages", json=body, headers=tenant.user.headers)).status_code == 202
        await provider.wait_for_calls(2)
        await superuser.execute("SELECT pg_notify('llm_saas_messages', 'erase ' || $1::text)", acme.id)
        await until(lambda: len(app.state.container.engine._running) == 1, "one of the two to stop")
        (left,) = app.state.container.engine._running.values()
        assert (left.tenant_id, provider.cancelled) == (rival.id, 1)
        known = {caller.tenant_id for _, caller in app.state.container.shared.tokens._verified.values()}
        assert rival.id in known
        assert acme.id not in known
        provider.release.set()


async def test_the_history_of_a_tenant_that_is_not_being_erased_cannot_be_deleted(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    before = await fingerprint(superuser, acme.id)
    async with superuser.transaction():
        await superuser.execute("SELECT enter_tenant($1)", acme.id)
        assert await superuser.fetchval("SELECT erase_history(1000)") == 0
    assert await fingerprint(superuser, acme.id) == before


async def test_a_due_webhook_of_a_tenant_that_is_being_erased_is_not_called(
    app: FastAPI,
    client: httpx.AsyncClient,
    superuser: asyncpg.Connection,
    acme: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webhooks = app.state.container.webhooks
    called: list[str] = []

    async def deliver(url: str, *_: Any) -> Any:
        called.append(url)
        raise AssertionError

    monkeypatch.setattr(webhooks._client, "deliver", deliver)
    await furnish(client, superuser, acme)
    await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE id = $1", acme.id)
    (message,) = await superuser.fetch(
        "SELECT id FROM messages WHERE tenant_id = $1 AND webhook_due_at > now()", acme.id
    )
    await webhooks._deliver(acme.id, message["id"])
    assert not called
    await superuser.execute("UPDATE tenants SET erasing_at = NULL WHERE id = $1", acme.id)
    with pytest.raises(AssertionError):
        await webhooks._deliver(acme.id, message["id"])


async def test_every_table_with_a_tenant_goes_with_it(superuser: asyncpg.Connection) -> None:
    owned = await superuser.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'"
        " AND table_name <> 'directory_claims'"  # those go with the directory's tenant, which may be another database's
    )
    cascading = await superuser.fetch(
        "SELECT DISTINCT conrelid::regclass::text AS name FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid = 'tenants'::regclass AND confdeltype = 'c'"
    )
    assert {row["name"] for row in cascading} == {row["table_name"] for row in owned}
