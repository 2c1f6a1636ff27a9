"""What one tenant does with the database does not keep another from it."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL, text

from app.application import create_app, lifespan
from app.core.principal import Principal
from app.db import gate
from app.db.session import Database
from tests.api.problems import assert_problem
from tests.conftest import client_of, make_settings
from tests.helpers import Member, make_tenant
from tests.waiting import patience, until

TWELVE = 12


async def hold(database: Database, member: Member, release: asyncio.Event, begun: list[int]) -> None:
    """A transaction of the member that takes its time."""
    principal = Principal(member.id, member.tenant_id, "user", 0)
    async with database.tenant_session(principal).begin() as connection:
        await connection.execute(text("SELECT 1"))
        begun.append(1)
        await release.wait()


async def test_twelve_slow_transactions_of_one_tenant_do_not_keep_another_from_starting(
    database_url: URL, tmp_path: Path
) -> None:
    app = create_app(make_settings(database_url, tmp_path, db_pool_size=4))
    async with lifespan(app), client_of(app) as client:
        acme, rival = await make_tenant(client), await make_tenant(client)
        database, release, begun = app.state.container.database, asyncio.Event(), list[int]()
        slow = [asyncio.create_task(hold(database, acme.user, release, begun)) for _ in range(TWELVE)]
        await until(lambda: len(begun) == 2, "the slow ones to begin")
        async with patience("the other tenant's turn"):
            for _ in range(TWELVE):
                assert (await client.get("/me", headers=rival.user.headers)).status_code == 200
        assert len(begun) == 2  # half of the connections
        waiting = asyncio.create_task(client.get("/me", headers=acme.user.headers))
        release.set()
        await asyncio.gather(*slow)
        assert (await waiting).status_code == 200


async def test_who_waits_too_long_behind_its_own_tenant_is_told_when_to_come_again(
    database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(make_settings(database_url, tmp_path, db_pool_size=2, db_connections_per_tenant=1))
    async with lifespan(app), client_of(app) as client:
        acme = await make_tenant(client)
        database, release, begun = app.state.container.database, asyncio.Event(), list[int]()
        slow = asyncio.create_task(hold(database, acme.user, release, begun))
        await until(lambda: begun, "the slow one to begin")
        monkeypatch.setattr(gate, "WAIT_SECONDS", 0.01)
        refused = await client.get("/me", headers=acme.user.headers)
        assert_problem(refused, 503)
        assert (refused.json()["type"], refused.headers["Retry-After"]) == ("urn:llm-saas:problem:database-busy", "1")
        release.set()
        await slow


async def test_a_statement_beyond_its_time_is_stopped_and_says_so(
    database_url: URL, tmp_path: Path, superuser: asyncpg.Connection
) -> None:
    app = create_app(make_settings(database_url, tmp_path, db_statement_timeout_seconds=0.2))
    async with lifespan(app), client_of(app) as client:
        acme = await make_tenant(client)
        async with superuser.transaction():
            await superuser.execute("SELECT FROM tenants WHERE id = $1 FOR UPDATE", acme.id)
            body = {"registration": "closed"}
            refused = await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.admin.headers)
        assert_problem(refused, 503)
        assert refused.json()["type"] == "urn:llm-saas:problem:statement-too-long"
        assert (await client.get("/me", headers=acme.admin.headers)).status_code == 200
