"""A restored backup brings erased tenants back: the record of erasures, kept outside, erases them again."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from app import cli
from app.core.errors import PermissionDenied
from app.core.ids import new_id
from app.db.embedded import _binaries
from app.db.provision import provision
from app.services.erasure_record import UnreadableRecord, tenants_in
from tests.committed.test_erasure import assert_nothing_left, erase, fingerprint
from tests.conftest import dsn, make_settings
from tests.helpers import make_tenant, send
from tests.own_database import own_database
from tests.sessions import instance

ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
OUTSIDE = '{"tenant_id": "%s", "erased_at": "2026-11-26T07:00:00+00:00"}'


def run(program: str, *arguments: str) -> None:
    subprocess.run([str(_binaries() / program), *arguments], check=True, capture_output=True)


async def test_what_a_restored_backup_brings_back_is_erased_again_and_nothing_else(
    template_url: URL, tmp_path: Path
) -> None:
    backup, record = tmp_path / "backup", tmp_path / "erased.jsonl"
    async with own_database(template_url) as own, own_database(template_url) as restored:
        async with instance(own.url, tmp_path) as (_, service):
            before, acme, rival = [await make_tenant(service) for _ in range(3)]
            for tenant in (acme, rival):
                await send(service, tenant.user)
            assert (await erase(service, before)).status_code == 204
            run("pg_dump", "--format=custom", "--file", str(backup), dsn(own.url))
            assert (await erase(service, acme)).status_code == 204
        settings = make_settings(own.url, tmp_path)
        record.write_text(await cli.erased_tenants(settings, ALWAYS) + "\n")
        assert tenants_in(record.read_text().splitlines()) == [before.id, acme.id]

        name = restored.url.database
        await restored.admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await restored.admin.execute(f"CREATE DATABASE {name}")
        run("pg_restore", "--dbname", dsn(restored.url), str(backup))
        superuser = await asyncpg.connect(dsn(restored.url))
        try:
            back = await fingerprint(superuser, acme.id)
            assert back["messages"][0] == 1, "the backup brings it back"
            kept = await fingerprint(superuser, rival.id)
            settings = make_settings(restored.url, tmp_path)
            said = await cli.replay_erasures(settings, record.read_text().splitlines())
            assert said == f"Erased again: 1 of 2 ({acme.id})"
            await assert_nothing_left(superuser, acme.id)
            assert await fingerprint(superuser, rival.id) == kept
            again = await cli.replay_erasures(settings, record.read_text().splitlines())
            assert again == "Erased again: 0 of 2"
            assert await superuser.fetchval("SELECT count(*) FROM erased_tenants") == 2, "the next backup knows it"
        finally:
            await superuser.close()


async def test_the_record_is_the_owners_to_read_and_to_replay(template_url: URL, tmp_path: Path) -> None:
    async with own_database(template_url) as own:
        login = own.url.set(username=f"runtime_{new_id()[:8]}", password="pw")
        await provision(own.url, login)
        settings = make_settings(login, tmp_path)
        record = tmp_path / "record"
        record.write_text(OUTSIDE % new_id())
        with pytest.raises(PermissionDenied):
            await cli.erased_tenants(settings, ALWAYS)
        with pytest.raises(PermissionDenied):
            await cli.replay_erasures(settings, record.read_text().splitlines())


def test_the_services_log_is_a_record_too() -> None:
    erased, other = new_id(), new_id()
    lines = [
        json.dumps({"event": "tenant_erasure_begun", "tenant_id": erased}),
        json.dumps({"event": "request", "tenant_id": other}),
        # Also said of a tenant that lives on elsewhere.
        json.dumps({"event": "tenant_erased", "tenant_id": other}),
        "",
        OUTSIDE % erased,
    ]
    assert tenants_in(lines) == [erased]


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"tenant_id": "x"}', OUTSIDE % "x", '{"event": "tenant_erasure_begun"}', "0199c0de"]
)
async def test_a_record_that_is_not_understood_erases_nothing(line: str, tmp_path: Path, settings) -> None:
    record = tmp_path / "record"
    record.write_text(f"{OUTSIDE % new_id()}\n{line}\n")
    with pytest.raises(UnreadableRecord, match="Line 2"):
        await cli.replay_erasures(settings, record.read_text().splitlines())
