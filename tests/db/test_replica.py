"""Reads at a streaming replica: as fresh as at the primary, and served by that whatever becomes of the replica."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import URL, text

from app.application import create_app, lifespan
from app.core.errors import DatabaseUnavailable
from app.core.principal import Principal
from app.core.settings.unusable import UnusableSetting
from app.db import reading
from app.db.replica import Replica
from tests.conftest import POSTGRES_OPTIONS, Pooler, client_of, dsn, execute, make_settings
from tests.helpers import PASSWORD, Tenant, join, make_tenant, send
from tests.own_database import OwnDatabase, own_database
from tests.standby import Standby
from tests.waiting import until

pytestmark = pytest.mark.skipif(bool(Pooler.port), reason="a replica here is reached without a pooler")
ONLY_AT_THE_PRIMARY = text(
    """
DO $$ BEGIN IF pg_is_in_recovery() THEN RAISE serialization_failure; END IF; END $$
""".replace(":", r"\:")
)
WHERE = text("SELECT pg_is_in_recovery()")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(template_url: URL) -> AsyncIterator[OwnDatabase]:
    async with own_database(template_url) as database:
        # As in production: what is acknowledged is on its way to the replica.
        await database.set("SET synchronous_commit = on")
        yield database


@pytest.fixture(scope="module")
def standby(own: OwnDatabase) -> Iterator[Standby]:
    standby = Standby(own.url, POSTGRES_OPTIONS)
    standby.copy()
    standby.start()
    yield standby
    standby.remove()


@asynccontextmanager
async def serving(own: OwnDatabase, standby: Standby, data_dir: Path) -> AsyncIterator[tuple[FastAPI, Any]]:
    app = app_with(own.url, standby.url(own.url), data_dir)
    async with lifespan(app), client_of(app) as client:
        yield app, client


def app_with(url: URL, replica: URL, data_dir: Path) -> FastAPI:
    settings = make_settings(url, data_dir, database_replica_url=replica.render_as_string(hide_password=False))
    return create_app(settings)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(
    own: OwnDatabase, standby: Standby, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with serving(own, standby, tmp_path_factory.mktemp("data")) as served:
        yield served


@pytest.fixture
async def client(served: tuple[FastAPI, httpx.AsyncClient], standby: Standby) -> httpx.AsyncClient:
    """Of the service, whose replica serves."""
    replica_of(served[0])
    await until(lambda: replica_of(served[0]).state == "ok", "the replica to serve")
    return served[1]


@pytest.fixture
async def acme(client: httpx.AsyncClient) -> Tenant:
    return await make_tenant(client)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many reads each server began."""
    counted: Counter[str] = Counter()

    class Count:
        def add(self, server: str) -> None:
            counted[server] += 1

    monkeypatch.setattr(reading, "REPLICA_READS", Count())
    return counted


def replica_of(app: FastAPI) -> Replica:
    replica = app.state.container.database.replica
    assert replica is not None
    return replica


def caller(tenant: Tenant) -> Principal:
    return Principal(tenant.user.id, tenant.id, "user", 0)


async def listed(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    answer = await client.get("/messages?limit=100", headers=headers)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


async def test_what_was_written_is_in_the_very_next_read(
    client: httpx.AsyncClient, acme: Tenant, reads: Counter[str]
) -> None:
    members = [acme.user, *[await join(client, acme.id) for _ in range(3)]]
    stale = 0

    async def write_and_read(number: int) -> None:
        nonlocal stale
        for _ in range(15):
            written = (await send(client, members[number]))["id"]
            reader = members[number - 1]  # nothing that one carries along says how far the other has come
            # The commit that a read may miss is the last one: that of the answer.
            answered = await client.get("/messages?limit=100&status=completed", headers=reader.headers)
            stale += written not in {row["id"] for row in answered.json()}

    await asyncio.gather(*(write_and_read(number) for number in range(4)))
    assert stale == 0
    assert reads["replica"] > 0, reads


async def test_who_is_logged_out_disabled_or_demoted_is_out_at_the_next_read(
    client: httpx.AsyncClient, acme: Tenant, reads: Counter[str]
) -> None:
    for _ in range(10):
        member = await join(client, acme.id)
        assert await listed(client, member.headers) == []
        ended = await client.post("/logout", json={"everywhere": True}, headers=member.headers)
        assert ended.status_code == 204, ended.text
        assert (await client.get("/messages", headers=member.headers)).status_code == 401

        member = await join(client, acme.id)
        path = f"/admin/users/{member.id}"
        promoted = await client.patch(path, json={"role": "admin"}, headers=acme.admin.headers)
        assert promoted.status_code == 200, promoted.text
        login = await client.post("/login", json={"email": member.email, "password": PASSWORD})
        as_admin = {"Authorization": f"Bearer {login.json()['access_token']}"}
        assert (await client.get(f"/tenants/{acme.id}/users", headers=as_admin)).status_code == 200
        await client.patch(path, json={"role": "user"}, headers=acme.admin.headers)
        assert (await client.get(f"/tenants/{acme.id}/users", headers=as_admin)).status_code == 401

        member = await join(client, acme.id)
        await client.patch(f"/admin/users/{member.id}", json={"disabled": True}, headers=acme.admin.headers)
        assert (await client.get("/messages", headers=member.headers)).status_code == 401
    assert reads["replica"] > 0, reads


async def test_what_only_its_author_may_see_is_hidden_from_the_next_read(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    message = (await send(client, acme.admin))["id"]
    for _ in range(10):
        for visibility, seen in (("own", []), ("tenant", [message])):
            change = {"message_visibility": visibility}
            changed = await client.patch(f"/tenants/{acme.id}", json=change, headers=acme.admin.headers)
            assert changed.status_code == 200, changed.text
            assert await listed(client, acme.user.headers) == seen


async def test_lists_usage_users_log_and_export_are_read_there(
    client: httpx.AsyncClient, acme: Tenant, reads: Counter[str]
) -> None:
    await send(client, acme.user)
    paths = [
        "/messages", "/messages?q=hello", "/conversations", "/usage", f"/tenants/{acme.id}/users", "/admin/audit-log",
        "/admin/invites", f"/tenants/{acme.id}/export",
    ]  # fmt: skip
    for path in paths:

        async def is_read_there(path: str = path) -> bool:
            before = reads["replica"]
            answer = await client.get(path, headers=acme.admin.headers)
            assert answer.status_code == 200, answer.text
            return reads["replica"] > before

        await until(is_read_there, f"{path} to be read at the replica")


@pytest.mark.parametrize("state", ["ok", "away"])
async def test_a_write_in_a_read_fails_at_either_server(
    served: tuple[FastAPI, httpx.AsyncClient], client: httpx.AsyncClient, acme: Tenant, state: str, monkeypatch: Any
) -> None:
    database = served[0].state.container.database
    monkeypatch.setattr(database.replica, "state", state)
    rename = text("UPDATE tenants SET name = 'x' WHERE tenants.id = :id")
    with pytest.raises(DatabaseUnavailable):
        async with database.tenant_session(caller(acme)).read() as connection:
            await connection.execute(rename, {"id": acme.id})


async def test_a_statement_that_the_replica_gives_up_is_executed_at_the_primary(
    served: tuple[FastAPI, httpx.AsyncClient], acme: Tenant, own: OwnDatabase, standby: Standby
) -> None:
    database = served[0].state.container.database

    async def moves(in_between: Any) -> None:
        async def begun_there() -> bool:
            async with database.tenant_session(caller(acme)).read() as connection:
                if not (await connection.execute(WHERE)).scalar_one():
                    return False
                await in_between(connection)
                # As those after it are, in the same tenant.
                assert (await connection.execute(text("SELECT id FROM tenants"))).scalars() == [acme.id]
                return not (await connection.execute(WHERE)).scalar_one()

        await until(begun_there, "a read to begin at the replica and end at the primary")
        assert database.pool.in_use == 0

    async def has_a_conflict(connection: Any) -> None:
        await connection.execute(ONLY_AT_THE_PRIMARY)

    async def is_terminated(connection: Any) -> None:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await execute(standby.url(own.url), f"SELECT pg_terminate_backend({pid}, 5000)")

    await moves(has_a_conflict)
    await moves(is_terminated)


async def test_a_replica_that_is_behind_makes_no_read_stale_and_serves_again_once_it_has_caught_up(
    served: tuple[FastAPI, httpx.AsyncClient],
    client: httpx.AsyncClient,
    acme: Tenant,
    own: OwnDatabase,
    standby: Standby,
) -> None:
    replica = replica_of(served[0])
    await execute(standby.url(own.url), "SELECT pg_wal_replay_pause()")
    try:

        async def is_known_to_be_behind() -> bool:
            written = (await send(client, acme.user))["id"]
            assert written in await listed(client, acme.user.headers)
            return replica.state == "behind" and bool(replica.lag_seconds)

        await until(is_known_to_be_behind, "reads to leave the replica alone")
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["replica"]) == (200, "behind")
    finally:
        await execute(standby.url(own.url), "SELECT pg_wal_replay_resume()")
    await until(lambda: replica.state == "ok" and replica.lag_seconds == 0, "the replica to serve again")


async def test_a_replica_that_is_frozen_or_killed_costs_no_read(
    served: tuple[FastAPI, httpx.AsyncClient],
    client: httpx.AsyncClient,
    acme: Tenant,
    standby: Standby,
    own: OwnDatabase,
) -> None:
    replica, database = replica_of(served[0]), served[0].state.container.database

    def restart() -> None:
        standby.stop()
        standby.start()

    for strike, mend in ((standby.freeze, standby.thaw), (standby.kill, restart)):
        written = {(await send(client, acme.user))["id"]}
        over = asyncio.Event()

        async def read_on(written: set[str] = written, over: asyncio.Event = over) -> int:
            number = 0
            while not over.is_set():
                assert written <= set(await listed(client, acme.user.headers))
                number += 1
            return number

        reading_on = [asyncio.create_task(read_on()) for _ in range(6)]
        async with database.tenant_session(caller(acme)).read() as connection:
            await connection.execute(WHERE)
            await asyncio.to_thread(strike)
            assert not (await connection.execute(WHERE)).scalar_one()
        await until(lambda: replica.state == "away", "the replica to be left alone")
        assert (await client.get("/health/ready")).json()["replica"] == "away"
        over.set()
        assert sum(await asyncio.gather(*reading_on)) > 0
        await asyncio.to_thread(mend)
        await until(lambda: replica.state == "ok", "the replica to serve again")
    assert database.pool.in_use == 0


async def test_what_was_promoted_serves_nobody(own: OwnDatabase, tmp_path: Path) -> None:
    other = Standby(own.url, POSTGRES_OPTIONS)
    other.copy()
    app = app_with(own.url, other.url(own.url), tmp_path)
    try:
        async with lifespan(app), client_of(app) as client:
            # Away at start is no reason not to start.
            acme = await make_tenant(client)
            assert await listed(client, acme.user.headers) == []
            await asyncio.to_thread(other.start)
            await until(lambda: replica_of(app).state == "ok", "the replica to come")
            await asyncio.to_thread(other.promote)
            await until(lambda: replica_of(app).state == "promoted", "the promotion to be seen")
            with pytest.raises(asyncpg.PostgresError) as refused:
                await execute(other.url(own.url), "SELECT wait_for_replay('0/0', 0)")
            assert refused.value.sqlstate == "LS005"
            another_history = f"UPDATE users SET disabled_at = now() WHERE tenant_id = '{acme.id}'"
            await execute(other.url(own.url), another_history)
            assert await listed(client, acme.user.headers) == []
            assert (await client.get("/health/ready")).json()["replica"] == "promoted"
    finally:
        other.remove()


async def test_a_function_of_ours_waits_no_longer_than_it_may(own: OwnDatabase, standby: Standby) -> None:
    at_primary, at_replica = await asyncpg.connect(dsn(own.url)), await asyncpg.connect(dsn(standby.url(own.url)))
    reached = await at_primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")

    async def replayed() -> bool:
        # What was flushed may end within a record: at rest, nothing would ever lie behind it.
        await at_primary.execute("SELECT pg_logical_emit_message(false, 'test', 'goes on')")
        found: bool = await at_replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", reached)
        return found

    await until(replayed, "the replay")
    await at_replica.execute(f"SELECT wait_for_replay('{reached}', 0)")
    for connection, position in ((at_replica, "FFFFFFFF/0"), (at_primary, "0/0")):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(f"SELECT wait_for_replay('{position}', 1)")
        assert refused.value.sqlstate == "LS005"
        await connection.close()


async def test_a_replica_that_is_none_or_of_another_database_is_refused_at_start(
    own: OwnDatabase, standby: Standby, template_url: URL, tmp_path: Path
) -> None:
    for url in (own.url, standby.url(template_url.set(database="postgres"))):
        app = app_with(own.url, url, tmp_path)
        with pytest.raises(UnusableSetting, match=r"^DATABASE_REPLICA_URL: ") as refused:
            async with lifespan(app):
                pass
        assert str(own.url.password) not in str(refused.value)
