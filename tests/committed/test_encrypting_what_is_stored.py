"""`encrypt-text` seals what was stored in plain: all of it, once, also after it was killed in the midst."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app import cli
from app.core.settings.unusable import UnusableSetting
from app.services import stored_texts
from tests.committed.test_cited_answers import with_embedder
from tests.committed.test_encrypted_copies import SECRET, TEXT, Died, export, sealed, take_in, texts_of
from tests.conftest import dsn, make_settings
from tests.documents.test_ingestion import totals_are_right
from tests.helpers import Tenant, make_tenant, send
from tests.own_database import own_database
from tests.sessions import instance

__all__ = ["sealed"]
RESPONSE = {"model": "mock-echo", "input": SECRET, "instructions": SECRET, "metadata": {"of": SECRET}, "store": True}
EVERYWHERE = ("conversations", "messages", "message_contents", "document_contents", "document_chunks")


async def furnish(client: httpx.AsyncClient, tenant: Tenant) -> None:
    """A text in every column that holds some."""
    body = {"title": SECRET, "system_prompt": SECRET}
    talk = (await client.post("/conversations", json=body, headers=tenant.user.headers)).json()["id"]
    sent = {"content": SECRET, "conversation_id": talk, "webhook_url": "https://hooks.invalid/the-falcon-lamp"}
    for path, body in (("/messages", sent), ("/v1/responses", RESPONSE)):
        answer = await client.post(path, json=body, headers=tenant.user.headers)
        assert answer.status_code in (200, 201), answer.text
    asked = {"content": f"{SECRET}?", "documents": True}
    assert (await client.post("/messages", json=asked, headers=tenant.user.headers)).json()["citations"]


def of_texts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left_out = {"content_hash": None}
    return [line | left_out for line in lines if line["type"] not in ("end", "audit_entry", "session")]


async def test_all_that_is_stored_is_sealed_once_and_reads_as_before(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_database(template_url) as own:
        async with instance(own.url, tmp_path) as (app, client):
            acme, rival = await make_tenant(client), await make_tenant(client)
            for tenant in (acme, rival):
                await take_in(app, client, tenant.user)
                await furnish(client, tenant)
            before = of_texts(await export(client, acme))
        superuser = await asyncpg.connect(dsn(own.url))
        try:
            settings = make_settings(own.url, tmp_path, **sealed)
            with pytest.raises(UnusableSetting, match="ENCRYPT_TEXT"):
                await cli.encrypt_text(make_settings(own.url, tmp_path))
            await killed_in_the_midst(settings, monkeypatch)
            assert SECRET in await texts_of(superuser)
            counts = [await superuser.fetchval(f"SELECT count(*) FROM {table}") for table in EVERYWHERE]
            assert all(counts)
            said = await cli.encrypt_text(settings)
            assert said.endswith("of 2 tenants encrypted: no text is left in plain")
            stored = await texts_of(superuser)
            for word in (SECRET, "falcon", "the-falcon"):
                assert word not in stored
            for table in ("chunk_terms", "term_frequencies"):
                assert await superuser.fetchval(f"SELECT count(*) FROM {table}") == 0
            await totals_are_right(superuser, acme)
            assert await cli.encrypt_text(settings) == "0 rows of 2 tenants encrypted: no text is left in plain"
        finally:
            await superuser.close()
        async with instance(own.url, tmp_path, **sealed) as (app, client):
            with_embedder(app)
            assert of_texts(await export(client, acme)) == before
            question = {"query": SECRET}
            assert (await client.post("/search", json=question, headers=acme.user.headers)).json()
            (document,) = (await client.get("/documents", headers=acme.user.headers)).json()
            same = await client.post(
                "/documents", json={"name": document["name"], "text": TEXT}, headers=acme.user.headers
            )
            assert (same.status_code, same.json()["id"]) == (200, document["id"])
            gone = await client.delete(f"/documents/{document['id']}", headers=acme.user.headers)
            assert gone.status_code == 204
            await send(client, acme.user)


async def killed_in_the_midst(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_some, left = stored_texts._seal_some, iter(range(3))

    async def dies(*given: Any) -> Any:
        if next(left, None) is None:
            raise Died
        return await seal_some(*given)

    with monkeypatch.context() as patch:
        patch.setattr(stored_texts, "_seal_some", dies)
        with pytest.raises(Died):
            await cli.encrypt_text(settings)


async def test_a_tenant_whose_key_is_away_is_left_and_named(
    template_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with own_database(template_url) as own:
        async with instance(own.url, tmp_path, **sealed) as (_, client):
            acme, rival = await make_tenant(client), await make_tenant(client)
            await send(client, acme.user, "sealed already")
        async with instance(own.url, tmp_path, text_keys_dir=sealed["text_keys_dir"]) as (_, client):
            for tenant in (acme, rival):
                await send(client, tenant.user, SECRET)
        key = Path(sealed["text_keys_dir"]) / f"{acme.id}.key"
        away = key.rename(key.with_suffix(".away"))
        settings = make_settings(own.url, tmp_path, **sealed)
        with pytest.raises(UnusableSetting, match=f"1 rows of 1 tenants encrypted; left.*{acme.id}"):
            await cli.encrypt_text(settings)
        away.rename(key)
        assert (await cli.encrypt_text(settings)).startswith("1 rows of 2 tenants")
