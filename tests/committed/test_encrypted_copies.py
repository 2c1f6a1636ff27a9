"""Encrypted texts elsewhere: in documents, in exports, after a kill, and in a backup of the day before."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from app import cli
from app.core.credentials.text_key import MARK
from app.core.ids import new_id
from app.messages.sweeper import sweep
from app.services.erase_service import TenantEraser
from tests.api.problems import assert_kind
from tests.committed.held import FIRST, held_server
from tests.committed.server import running
from tests.committed.test_cited_answers import with_embedder
from tests.committed.test_erasure import assert_nothing_left, erase, fingerprint
from tests.committed.test_erasure_record import ALWAYS
from tests.committed.test_erasure_record import run as run_program
from tests.conftest import MASTER_KEY, SECRET_KEY, dsn, make_settings
from tests.documents.test_ingestion import ingestion, upload
from tests.helpers import Member, Tenant, make_tenant, send
from tests.own_database import OwnDatabase, own_database
from tests.sessions import instance
from tests.waiting import until

SECRET = "the falcon lamp costs twenty euros"
PLACE = "lamps and their prices"
TEXT = f"# {PLACE}\n\n{SECRET.capitalize()}.\n"


class Died(BaseException):
    """As a process does between two steps."""


@pytest.fixture
def sealed(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "text-keys").mkdir()
    return {"encrypt_text": True, "text_keys_dir": str(tmp_path / "text-keys")}


async def export(client: httpx.AsyncClient, tenant: Tenant) -> list[dict[str, Any]]:
    answer = await client.get(f"/tenants/{tenant.id}/export", headers=tenant.admin.headers)
    return [json.loads(line) for line in answer.text.splitlines()]


async def take_in(app: FastAPI, client: httpx.AsyncClient, member: Member) -> dict[str, Any]:
    with_embedder(app)
    made = await upload(client, member, TEXT, name=f"{new_id()}.md")
    await ingestion(app.state.container.database).take_all()
    return made


async def texts_of(superuser: asyncpg.Connection) -> str:
    """All rows of all tables."""
    tables = await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [await superuser.fetch(f"SELECT t::text FROM {table} t") for (table,) in tables]
    return "\n".join(row[0] for table in rows for row in table).lower()


async def test_documents_are_found_by_meaning_read_and_cited_and_no_word_of_them_is_stored(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with own_database(template_url) as own, instance(own.url, tmp_path, **sealed) as (app, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        made = await take_in(app, client, acme.user)
        content = (await client.get(f"/documents/{made['id']}/content", headers=acme.user.headers)).text
        assert SECRET.capitalize() in content
        question = {"query": "what does the falcon lamp cost"}
        found = (await client.post("/search", json=question, headers=acme.user.headers)).json()
        assert SECRET.capitalize() in found[0]["text"]
        assert (await client.post("/search", json=question, headers=rival.user.headers)).json() == []
        body = {"content": question["query"], "documents": True}
        asked = (await client.post("/messages", json=body, headers=acme.user.headers)).json()
        assert SECRET.capitalize() in asked["citations"][0]["cited_text"]
        # The same content is known again, by a digest that tells nobody else what it is of.
        same = {"name": made["name"], "text": TEXT}
        again = await client.post("/documents", json=same, headers=acme.user.headers)
        assert (again.status_code, again.json()["id"]) == (200, made["id"])

        superuser = await asyncpg.connect(dsn(own.url))
        try:
            stored = await texts_of(superuser)
            assert SECRET not in stored
            assert PLACE not in stored
            assert "falcon" not in stored
            for table in ("chunk_terms", "term_frequencies"):
                assert await superuser.fetchval(f"SELECT count(*) FROM {table}") == 0
            assert await superuser.fetchval("SELECT count(*) FROM chunk_vectors") == 1
            lines = {line["type"]: line for line in await export(client, acme)}
            assert SECRET.capitalize() in lines["document_chunk"]["text"]
            assert lines["document_content"]["text"] == content
            assert lines["message"]["citations"] == asked["citations"]
            await superuser.execute("UPDATE document_chunks SET text = left(text, 30)")
            assert (await client.post("/search", json=question, headers=acme.user.headers)).json() == []
            line = next(line for line in await export(client, acme) if line["type"] == "document_chunk")
            assert (line["text"], line["unreadable"]) == (None, ["text"])
        finally:
            await superuser.close()
        deleted = await client.delete(f"/documents/{made['id']}", headers=acme.user.headers)
        assert deleted.status_code == 204


async def test_an_export_is_in_plain_and_as_it_would_be_without_encryption(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with own_database(template_url) as own, instance(own.url, tmp_path, **sealed) as (_, client):
        acme = await make_tenant(client)
        titled = {"title": "Lamps \u2028", "system_prompt": "Be brief."}
        made = (await client.post("/conversations", json=titled, headers=acme.user.headers)).json()
        body = {"content": SECRET, "conversation_id": made["id"], "metadata": {"of": "a lamp"}, "temperature": 0.5}
        sent = (await client.post("/messages", json=body, headers=acme.user.headers)).json()
        lines = {line["type"]: line for line in await export(client, acme)}
        assert {name: lines["conversation"][name] for name in titled} == titled
        for name in ("content", "response", "metadata", "citations", "cost_micro_usd"):
            assert lines["message"][name] == sent[name]
        assert lines["message_content"]["request"]["options"]["temperature"] == 0.5
        assert MARK[1:] not in json.dumps(lines)


async def test_what_a_killed_process_had_written_is_read_and_sealed_as_the_answer(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with own_database(template_url) as own, held_server() as provider:
        superuser = await asyncpg.connect(dsn(own.url))
        given = {"database_url": own.text, "secret_key": SECRET_KEY, "master_key": MASTER_KEY, "encrypt_text": "true"}
        async with (
            running(tmp_path, **given, text_keys_dir=sealed["text_keys_dir"], **provider.settings) as server,
            server.client() as client,
        ):
            acme = await make_tenant(client)
            body = {"content": SECRET, "background": True}
            sent = (await client.post("/messages", json=body, headers=acme.user.headers)).json()

            async def written() -> bool:
                return bool(await superuser.fetchval("SELECT count(*) FROM message_deltas"))

            await until(written, "the first text")
            server.kill()
        pieces = [row["text"] for row in await superuser.fetch("SELECT text FROM message_deltas")]
        assert all(piece.startswith(MARK) for piece in pieces)
        await superuser.execute("UPDATE messages SET lease_expires_at = now() - interval '1 second'")
        async with instance(own.url, tmp_path, **sealed) as (app, client):
            assert await sweep(app.state.container.database) == 1
            ended = (await client.get(f"/messages/{sent['id']}", headers=acme.user.headers)).json()
            assert (ended["response"], ended["error_code"]) == (FIRST, "interrupted")
        assert FIRST not in await superuser.fetchval("SELECT response FROM messages")
        await superuser.close()


async def restore(restored: OwnDatabase, backup: Path) -> None:
    name = restored.url.database
    await restored.admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await restored.admin.execute(f"CREATE DATABASE {name}")
    run_program("pg_restore", "--dbname", dsn(restored.url), str(backup))


async def test_a_backup_of_the_day_before_has_nothing_to_read_of_a_tenant_that_was_erased_since(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    backup = tmp_path / "backup"
    async with own_database(template_url) as own, own_database(template_url) as restored:
        async with instance(own.url, tmp_path, **sealed) as (app, client):
            acme, rival = await make_tenant(client), await make_tenant(client)
            for tenant in (acme, rival):
                await send(client, tenant.user, SECRET)
                await take_in(app, client, tenant.user)
            run_program("pg_dump", "--format=custom", "--file", str(backup), dsn(own.url))
            assert (await erase(client, acme)).status_code == 204
        record = await cli.erased_tenants(make_settings(own.url, tmp_path), ALWAYS)
        await restore(restored, backup)
        superuser = await asyncpg.connect(dsn(restored.url))
        try:
            back = await fingerprint(superuser, acme.id)
            assert back["messages"][0] == 1, "its rows are back"
            assert await superuser.fetchval("SELECT count(*) FROM text_keys") == 2
            assert SECRET not in await texts_of(superuser)
            # With all settings and keys that there are by now.
            async with instance(restored.url, tmp_path, **sealed) as (app, client):
                with_embedder(app)
                question = {"query": SECRET}
                for tenant, readable in ((acme, False), (rival, True)):
                    (row,) = (await client.get("/messages", headers=tenant.admin.headers)).json()
                    assert row["content"] == (SECRET if readable else "[unreadable]")
                    assert (row["error_code"] is None) == readable
                    found = await client.post("/search", json=question, headers=tenant.user.headers)
                    assert bool(found.json()) == readable
                refused = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
                assert_kind(refused, 503, "text-keys-unavailable")
            kept = await fingerprint(superuser, rival.id)
            said = await cli.replay_erasures(make_settings(restored.url, tmp_path, **sealed), record.splitlines())
            assert said.startswith("Erased again: 1 of 1")
            await assert_nothing_left(superuser, acme.id)
            assert await fingerprint(superuser, rival.id) == kept
        finally:
            await superuser.close()


async def test_an_erasure_that_dies_between_its_steps_ends_without_the_key_and_one_after_a_move_keeps_it(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_database(template_url) as own, instance(own.url, tmp_path, **sealed) as (app, client):
        database = app.state.container.database
        superuser = await asyncpg.connect(dsn(own.url))
        keys = {}
        for case in ("before", "after", "left behind"):
            tenant = await make_tenant(client)
            await send(client, tenant.user, SECRET)
            keys[case] = Path(sealed["text_keys_dir"]) / f"{tenant.id}.key"
            mark = "UPDATE tenants SET erasing_at = now() - interval '1 hour', moving = $2 WHERE id = $1"
            await superuser.execute(mark, tenant.id, "frozen" if case == "left behind" else None)
            if case == "left behind":
                await TenantEraser(database).erase(tenant.id)
                assert keys[case].exists(), "it lives on elsewhere"
                continue
            await superuser.execute("INSERT INTO erased_tenants (id) VALUES ($1)", tenant.id)
            destroy = database.texts.destroy

            async def dies(tenant_id: str, case: str = case, destroy: Any = destroy) -> None:
                if case == "after":
                    await destroy(tenant_id)
                raise Died

            with monkeypatch.context() as patch:
                patch.setattr(database.texts, "destroy", dies)
                with pytest.raises(Died):
                    await TenantEraser(database).erase(tenant.id)
            assert await superuser.fetchval("SELECT count(*) FROM text_keys WHERE tenant_id = $1", tenant.id) == 1
            assert keys[case].exists() == (case == "before")
            await superuser.execute(mark, tenant.id, None)
            await TenantEraser(database).finish_abandoned()
            assert not keys[case].exists()
            await assert_nothing_left(superuser, tenant.id)
        await superuser.close()
