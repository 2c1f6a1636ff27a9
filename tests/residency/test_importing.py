"""A tenant that comes as a file to a deployment of two regions: what it has is its own over both."""

import argparse
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.commands.portable import export_tenant, import_tenant
from app.services.portable import regions
from app.services.portable.refusal import Refused
from tests.conftest import make_settings
from tests.helpers import PASSWORD, Tenant, make_tenant, send
from tests.own_database import own_database
from tests.residency.regions import Two, new_key
from tests.sessions import instance


@pytest.fixture
async def service(two: Two) -> AsyncIterator[httpx.AsyncClient]:
    async with two.service() as (_, client):
        yield client


async def from_elsewhere(template_url: URL, directory: Path) -> tuple[Tenant, str, Path]:
    """A tenant of another deployment, a key of it, and its file."""
    path = directory / secrets.token_hex(4)
    async with own_database(template_url) as own, instance(own.url, directory) as (_, client):
        tenant = await make_tenant(client)
        await send(client, tenant.user)
        key = await new_key(client, tenant.user)
        arguments = argparse.Namespace(tenant_id=tenant.id, file=str(path))
        await export_tenant(arguments, make_settings(own.url, directory))
    return tenant, key, path


async def take_in(two: Two, path: Path, region: str) -> str:
    arguments = argparse.Namespace(file=str(path), region=region, after_erasure=False)
    return await import_tenant(arguments, two.settings())


async def test_a_tenant_from_elsewhere_lives_in_the_region_that_was_named(
    two: Two, service: httpx.AsyncClient, template_url: URL, tmp_path: Path
) -> None:
    tenant, key, path = await from_elsewhere(template_url, tmp_path)

    with pytest.MonkeyPatch.context() as patch:  # killed when its rows are there, and nobody knows of it
        patch.setattr(regions, "VALUES", "SELECT 1 / 0, $1::text")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await take_in(two, path, "us")
    login = {"email": tenant.user.email, "password": PASSWORD}
    # Who is in no directory is looked for in a region that the email chooses; in this one it is said to be on its way.
    assert (await service.post("/login", json=login)).status_code in (401, 503)
    assert (await two.count("us", tenant.id))["users"] == 2

    await take_in(two, path, "us")

    answer = await service.post("/login", json=login)
    assert answer.status_code == 200, answer.text
    for credential in (answer.json()["access_token"], key):
        found = await service.get("/messages", headers={"Authorization": f"Bearer {credential}"})
        assert len(found.json()) == 1, found.text
    assert await two.count("eu", tenant.id) == {}
    with pytest.raises(Refused, match="lives in us"):
        await take_in(two, path, "eu")


async def test_who_is_anothers_in_another_region_is_refused_and_nothing_stays(
    two: Two, service: httpx.AsyncClient, template_url: URL, tmp_path: Path
) -> None:
    tenant, _, path = await from_elsewhere(template_url, tmp_path)
    body = {"name": f"Squatter {tenant.id}", "admin": {"email": tenant.user.email, "password": PASSWORD}}
    assert (await service.post("/create-tenant", json=body | {"region": "eu"})).status_code == 201

    with pytest.raises(Refused, match=f"taken by another: the email of {tenant.user.id}"):
        await take_in(two, path, "us")

    assert await two.count("us", tenant.id) == {}
    answer = await service.post("/login", json={"email": tenant.user.email, "password": PASSWORD})
    assert answer.json()["user"]["tenant_id"] != tenant.id
