"""When a key ends, who may end it, and what its use costs."""

import asyncio
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app.application import create_app
from app.container import Container, open_one_place
from app.core.ids import new_id
from app.services import api_key_service
from app.shared import Shared
from benchmarks.round_trips import CountingProxy
from tests.api.problems import assert_problem, without_request_id
from tests.api.test_api_keys import ALL, bearer, make_key
from tests.conftest import client_of, make_settings
from tests.helpers import Tenant, join, send
from tests.sessions import actions_of, begin, instance, refresh, status_of
from tests.waiting import patience


async def test_a_revoked_key_is_refused_at_the_next_request_in_every_process(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, database_url: URL, tmp_path: Path, acme: Tenant
) -> None:
    made = await make_key(client, acme.user, ["messages:read"])
    async with instance(database_url, tmp_path) as (_, elsewhere):
        for process in (client, elsewhere):
            assert await status_of(process, made["key"]) == 200
        path = f"/api-keys/{made['id']}"
        assert (await client.delete(path, headers=acme.user.headers)).status_code == 204
        for process in (elsewhere, client):
            assert await status_of(process, made["key"]) == 401
        assert_problem(await client.delete(path, headers=acme.user.headers), 404)
    assert (await actions_of(superuser, acme.id)).count("api_key.revoked") == 1


async def test_a_user_neither_sees_nor_revokes_a_colleagues_key_and_an_admin_does(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    colleague = await join(client, acme.id)
    theirs = await make_key(client, colleague, ["messages:read"])
    mine = await make_key(client, acme.user, ["messages:read"])
    foreign = await make_key(client, rival.user, ["messages:read"])

    seen = (await client.get("/api-keys", headers=acme.user.headers)).json()
    assert [key["id"] for key in seen] == [mine["id"]]
    missing = [
        await client.delete(f"/api-keys/{key_id}", headers=member.headers)
        for key_id, member in (
            (theirs["id"], acme.user),
            (foreign["id"], acme.user),
            (foreign["id"], acme.admin),
            (new_id(), acme.admin),
            ("no id", acme.admin),
        )
    ]
    for answer in missing:
        assert_problem(answer, 404)
    assert len({without_request_id(answer) for answer in missing}) == 1

    seen = (await client.get("/api-keys", headers=acme.admin.headers)).json()
    assert [key["id"] for key in seen] == [mine["id"], theirs["id"]]
    assert (await client.delete(f"/api-keys/{theirs['id']}", headers=acme.admin.headers)).status_code == 204
    assert await status_of(client, theirs["key"]) == 401
    assert await status_of(client, foreign["key"]) == 200


async def test_a_key_of_another_tenant_sees_its_own_alone(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    secret = await send(client, acme.user, "the secret")
    key = bearer((await make_key(client, rival.admin, ALL))["key"])
    assert (await client.get("/messages", headers=key)).json() == []
    assert_problem(await client.get(f"/messages/{secret['id']}", headers=key), 404)
    assert_problem(await client.get(f"/admin/users/{acme.user.id}/budget", headers=key), 404)
    assert_problem(await client.get(f"/tenants/{acme.id}", headers=key), 403)


async def test_keys_page_by_keyset(client: httpx.AsyncClient, acme: Tenant) -> None:
    made = [(await make_key(client, acme.user, ["messages:read"]))["id"] for _ in range(5)]
    url, seen = "/api-keys?limit=2", []
    while url:
        page = await client.get(url, headers=acme.user.headers)
        seen += [key["id"] for key in page.json()]
        url = page.links.get("next", {}).get("url", "")
    assert seen == made[::-1]


async def test_a_key_outlives_the_session_that_made_it(client: httpx.AsyncClient, acme: Tenant) -> None:
    session = await begin(client, acme.user)
    body = {"name": "x", "scopes": ["messages:read"]}
    key = (await client.post("/api-keys", json=body, headers=session.headers)).json()["key"]
    await client.post("/logout", json={"everywhere": True}, headers=session.headers)
    assert_problem(await refresh(client, session.refresh), 401)
    assert await status_of(client, key) == 200


async def test_the_last_use_is_right_to_the_minute_and_not_written_at_each(
    app: FastAPI,
    client: httpx.AsyncClient,
    superuser: asyncpg.Connection,
    acme: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = app.state.container.shared.api_keys._known
    monkeypatch.setattr(api_key_service, "NOTED_FOR_SECONDS", 3600)  # the minute passes when the test says so
    made = await make_key(client, acme.user, ["messages:read"])
    assert made["last_used_at"] is None

    async def state() -> asyncpg.Record:
        return await superuser.fetchrow("SELECT xmin::text, last_used_at FROM api_keys WHERE id = $1", made["id"])

    async def a_minute_passes(*, noted: str) -> asyncpg.Record:
        """What is noted in the table then."""
        await superuser.execute(f"UPDATE api_keys SET last_used_at = {noted} WHERE id = $1", made["id"])
        known.update({key: (principal, 0.0) for key, (principal, _) in known.items()})
        return await state()

    began = await superuser.fetchval("SELECT now()")
    await asyncio.gather(*(status_of(client, made["key"]) for _ in range(20)))
    first = await state()
    listed = (await client.get("/api-keys", headers=acme.user.headers)).json()
    assert listed[0]["last_used_at"]
    assert began < first["last_used_at"] < await superuser.fetchval("SELECT now()")
    await status_of(client, made["key"])
    assert await state() == first

    noted = await a_minute_passes(noted="now() + interval '1 hour'")
    await status_of(client, made["key"])
    assert await state() == noted, "another process has noted a use meanwhile"
    old = await a_minute_passes(noted="now() - interval '61 seconds'")
    await status_of(client, made["key"])
    assert (await state())["last_used_at"] > old["last_used_at"]


async def test_a_use_does_not_wait_for_another_that_notes_it(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    made = await make_key(client, acme.user, ["messages:read"])
    async with superuser.transaction():
        await superuser.execute("SELECT FROM api_keys WHERE id = $1 FOR UPDATE", made["id"])
        async with patience("the request that does not wait"):
            assert await status_of(client, made["key"]) == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/me"), ("GET", "/messages"), ("POST", "/messages")])
async def test_after_its_first_use_a_key_costs_no_more_trips_than_a_token(
    database_url: URL, client: httpx.AsyncClient, tmp_path: Path, acme: Tenant, method: str, path: str
) -> None:
    key = (await make_key(client, acme.user, ALL[:2]))["key"]
    proxy = CountingProxy(database_url.port or 5432)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    through = database_url.set(host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    settings = make_settings(through, tmp_path, db_pool_size=1)
    app = create_app(settings)  # without its lifespan: nothing else may talk to the database
    place = open_one_place(settings, settings.database_url)
    shared = Shared.create(settings, place)
    app.state.container = Container.create(shared, place.chosen(None), settings.database_url)
    body = {"content": "Hello"} if method == "POST" else None
    trips = {}
    async with client_of(app) as counted:
        for name, credential in (("token", acme.user.token), ("key", key)):
            for _ in range(2):  # the first prepares the statements and looks the key up
                before = proxy.trips
                answer = await counted.request(method, path, json=body, headers=bearer(credential))
                assert answer.is_success
                trips[name] = proxy.trips - before
    await app.state.container.close()
    await shared.close()
    listener.close()

    assert trips["key"] == trips["token"]
    assert 0 < trips["token"] <= 6
