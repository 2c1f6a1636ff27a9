"""A region that is away costs its own tenants alone, and what cannot work is refused at start by its name."""

import argparse
import secrets
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from app.cli import fill_directory, set_ceiling
from app.core.settings.unusable import UnusableSetting
from app.db import connection, rls
from app.residency.directory import Directory
from tests.api.problems import assert_problem
from tests.conftest import SECRET_KEY, make_settings
from tests.helpers import PASSWORD, Tenant, log_in, make_tenant, send, unique_email
from tests.residency.regions import Two, new_key, tenant_in
from tests.sessions import instance, refresh, status_of


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away refuses at once; these bounds only end a hang, and tests elsewhere are patient."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_SECONDS", 30)
    monkeypatch.setattr(rls, "ENTER_SECONDS", 30)


async def assert_works(client: httpx.AsyncClient, tenant: Tenant, key: str, token: str) -> None:
    await send(client, await log_in(client, tenant.user.email))
    assert await status_of(client, tenant.admin.token) == 200
    assert await status_of(client, key) == 200
    assert (await refresh(client, token)).status_code == 200


async def credentials(client: httpx.AsyncClient, tenant: Tenant) -> tuple[str, str]:
    login = await client.post("/login", json={"email": tenant.user.email, "password": PASSWORD})
    return await new_key(client, tenant.user), login.json()["refresh_token"]


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("away", ["eu", "us"])
async def test_a_region_that_is_away_costs_its_own_tenants_alone(two: Two, away: str) -> None:
    """Also the one with the directory, and for a process that knows nobody yet."""
    lives = "us" if away == "eu" else "eu"
    async with two.service() as (_, first), two.service() as (_, second):
        here, there = await tenant_in(first, lives), await tenant_in(first, away)
        own = await credentials(first, here)
        async with two.without(away):
            await assert_works(second, here, *own)
            assert (await second.get("/health/ready")).status_code == 200
            assert_problem(await second.get("/messages", headers=there.user.headers), 503)
            login = {"email": there.user.email, "password": PASSWORD}
            assert_problem(await second.post("/login", json=login), 503)
            body = {"name": unique_email("Tenant"), "region": away}
            assert_problem(await second.post("/create-tenant", json=body), 503)
            with pytest.raises(UnusableSetting, match=f"DATABASE_SHARDS: the database of {away} does not answer"):
                async with two.service():
                    pass
        await send(second, await log_in(second, there.user.email))


async def test_a_url_in_the_wrong_place_is_refused(two: Two) -> None:
    async with two.service():
        pass
    two.urls = {"eu": two.urls["us"], "us": two.urls["eu"]}
    with pytest.raises(UnusableSetting, match="DATABASE_SHARDS: what it calls eu is the database of us"):
        async with two.service():
            pass
    two.urls = {"us": two.urls["eu"], "eu": two.urls["eu"]}
    with pytest.raises(UnusableSetting, match="DATABASE_SHARDS"):
        async with two.service():
            pass


async def test_one_regions_tenants_are_listed_before_it_is_one_of_several(two: Two) -> None:
    async with instance(two.urls["us"], two.data_dir) as (_, alone):
        acme = await make_tenant(alone)
        own = await credentials(alone, acme)
    with pytest.raises(UnusableSetting, match="fill-directory"):
        async with two.service():
            pass

    assert "us: 1 tenants, 4 emails, names and keys" in await fill_directory(two.settings())
    assert "us: 1 tenants, 4 emails, names and keys" in await fill_directory(two.settings())  # again

    async with two.service() as (_, client):
        await assert_works(client, acme, *own)
        rival = await tenant_in(client, "eu")
        body = {"email": acme.user.email, "password": PASSWORD, "tenant_id": rival.id}
        assert_problem(await client.post("/register", json=body), 409)
    arguments = argparse.Namespace(tenant_id=acme.id, micro_usd=7, default=False)
    assert "7 micro-USD" in await set_ceiling(arguments, two.settings())


@pytest.mark.parametrize("stored", [True, False])
async def test_what_a_killed_process_claimed_is_settled_as_its_region_says(
    two: Two, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    async with two.service() as (app, client):
        acme, rival = await tenant_in(client, "us"), await tenant_in(client, "eu")
        body = {"email": unique_email(), "password": PASSWORD}

        async def nobody(*_: Any, **__: Any) -> None:
            """The process is gone."""

        with monkeypatch.context() as patch:
            patch.setattr(Directory, "settle", nobody)
            assert (await client.post("/register", json={**body, "tenant_id": acme.id})).status_code == 201
        if not stored:
            await two.superusers["us"].execute("DELETE FROM users WHERE email = $1", body["email"])
        # Within its minute it is somebody's who may still be at work.
        assert_problem(await client.post("/register", json={**body, "tenant_id": rival.id}), 409)
        await two.superusers["eu"].execute("UPDATE directory_claims SET expires_at = now() WHERE expires_at > now()")

        assert await app.state.regions._places.directory.settle_doubtful() == 1

        unsure = "SELECT count(*) FROM directory_claims WHERE expires_at IS NOT NULL"
        assert await two.superusers["eu"].fetchval(unsure) == 0
        again = await client.post("/register", json={**body, "tenant_id": rival.id})
        assert again.status_code == (409 if stored else 201)


async def test_the_servers_key_is_rotated_and_every_email_stays_unique(two: Two) -> None:
    async with two.service() as (_, client):
        acme = await tenant_in(client, "us")
    new = secrets.token_hex(32)
    for settings in ({"secret_key": new, "previous_secret_keys": SECRET_KEY}, {"secret_key": new}):
        async with two.service(**settings) as (_, client):
            rival = await tenant_in(client, "eu")
            body = {"email": acme.user.email, "password": PASSWORD, "tenant_id": rival.id}
            assert_problem(await client.post("/register", json=body), 409)
            await log_in(client, acme.user.email)
    with pytest.raises(UnusableSetting, match="SECRET_KEY"):
        async with two.service():  # with the first key alone
            pass


def test_shards_that_cannot_be_meant_are_refused(database_url: URL, two: Two) -> None:
    for changes in (
        {"database_shards": "eu=postgresql://u@h/a,eu=postgresql://u@h/b"},
        {"database_shards": "Europe=postgresql://u@h/a"},
        {"database_shards": '{"eu": 1}'},
        {"database_shards": "eu=mysql://u@h/a"},
        {"database_shards": "eu=postgresql://u@h/a", "database_shard_passwords": "us=secret-of-us"},
        {"database_shards": "eu=postgresql://u@h/a", "migration_database_shards": "us=postgresql://u@h/a"},
        {"database_shards": "eu=postgresql://u@h/a,us=postgresql://u@h/b", "database_direct_url": "postgresql://u@h/a"},
    ):
        with pytest.raises(ValueError, match=r"SHARD|DATABASE_DIRECT_URL") as refused:
            make_settings(database_url, two.data_dir, **changes)
        assert "secret-of-us" not in str(refused.value)


@pytest.mark.usefixtures("_soon")
async def test_what_a_tenant_left_in_a_region_is_not_taken_for_it_while_the_directory_is_away(two: Two) -> None:
    async with two.service() as (_, first), two.service() as (_, second):
        acme = await tenant_in(first, "eu")
        # As after a move from there, while what it left is being erased.
        left = "INSERT INTO tenants (id, name, moving, erasing_at) VALUES ($1, $2, 'frozen', now())"
        await two.superusers["us"].execute(left, acme.id, acme.name)
        async with two.without("eu"):
            assert_problem(await second.get("/messages", headers=acme.user.headers), 503)
        assert (await second.get("/messages", headers=acme.user.headers)).status_code == 200
