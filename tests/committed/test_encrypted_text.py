"""Texts are stored sealed under a key of each tenant: read by those who may, by nobody else, and by nobody any more."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL
from structlog.testing import capture_logs

from app.cli import rotate_master_key
from app.core.credentials.text_key import MARK
from app.core.security import PasswordHasher
from app.core.settings.unusable import UnusableSetting
from app.db.session import Database
from app.residency.places import OnePlace
from app.services.retention_check import NotAllTried, check_retention
from tests.api.problems import assert_kind
from tests.committed.server import running
from tests.committed.test_erasure import erase
from tests.conftest import make_settings, own_database
from tests.helpers import Tenant, make_tenant, send
from tests.sessions import instance

database_url, settings, superuser = own_database()
SAID = "Nobody else is to read this"
CHANGED_KEY = secrets.token_hex(32)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all tests here, as the database is."""
    return tmp_path_factory.mktemp("text-keys")


@pytest.fixture
def sealed(keys: Path) -> dict[str, Any]:
    return {"encrypt_text": True, "text_keys_dir": str(keys)}


@pytest.fixture
async def service(
    database_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with instance(database_url, tmp_path, **sealed) as served:
        yield served


async def get(client: httpx.AsyncClient, tenant: Tenant, path: str, **query: Any) -> httpx.Response:
    return await client.get(path, params=query, headers=tenant.admin.headers)


async def test_no_word_said_by_any_way_is_in_the_database(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path, keys: Path
) -> None:
    url = database_url.render_as_string(hide_password=False)
    database, passwords = Database(url, pool_size=1), PasswordHasher(4)
    try:
        async with running(tmp_path, database_url=url, encrypt_text="true", text_keys_dir=str(keys)) as server:
            with pytest.raises(NotAllTried) as found:
                await check_retention(
                    f"http://127.0.0.1:{server.port}",
                    OnePlace(database, None),
                    {"": url},
                    passwords,
                    logs=[str(server.log)],
                    days=30,
                )
    finally:
        passwords.close()
        await database.close()
    # Answered, and not refused as of a tenant that keeps nothing: of what is kept, `verify-retention` finds all.
    report = str(found.value)
    assert "POST /messages with background was answered with 202" in report
    assert "FOUND" not in report
    for looked in ("tables, all rows", "pages of", "files of the log of changes", "log "):
        assert looked in report
    assert list(keys.glob("*.key")) == []


async def test_what_was_stored_before_is_read_beside_what_is_sealed(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with instance(database_url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        plain = await send(client, acme.user, "Said in the open")
    async with instance(database_url, tmp_path, **sealed) as (_, client):
        hidden = await send(client, acme.user, SAID)
        listed = (await get(client, acme, "/messages")).json()
        assert [row["content"] for row in listed] == [SAID, "Said in the open"]
        assert [row["response"] for row in listed] == [hidden["response"], plain["response"]]
        assert_kind(await get(client, acme, "/messages", q="open"), 501, "search-encrypted")
        labelled = await get(client, acme, "/v1/chat/completions", **{"metadata[of]": "open"})
        assert (labelled.status_code, labelled.json()["error"]["param"]) == (400, "metadata")
        assert len((await get(client, acme, "/messages", status="completed")).json()) == 2
    stored = await superuser.fetchrow("SELECT content, response, words::text FROM messages WHERE id = $1", hidden["id"])
    assert stored["content"].startswith(MARK)
    assert stored["response"].startswith(MARK)
    assert stored["words"] == ""
    # Without sealing any more, what is sealed is opened.
    async with instance(database_url, tmp_path, text_keys_dir=sealed["text_keys_dir"]) as (_, client):
        assert (await get(client, acme, f"/messages/{hidden['id']}")).json()["content"] == SAID
        again = await send(client, acme.user, "In the open again")
        found = (await get(client, acme, "/messages", q="open")).json()
        assert [row["id"] for row in found] == [again["id"], plain["id"]]


async def test_a_text_that_was_changed_or_put_elsewhere_does_not_open_and_hides_no_other(
    service: tuple[FastAPI, httpx.AsyncClient], superuser: asyncpg.Connection
) -> None:
    _, client = service
    acme, rival = await make_tenant(client), await make_tenant(client)
    whole = await send(client, acme.user, SAID)
    moved, swapped, cut, others = [await send(client, acme.user, f"{SAID} {n}") for n in range(4)]
    of_rival = await send(client, rival.user, SAID)
    put = "UPDATE messages SET content = (SELECT o.{} FROM messages o WHERE o.id = $2) WHERE id = $1"
    await superuser.execute(put.format("content"), moved["id"], whole["id"])
    await superuser.execute(put.format("response"), swapped["id"], swapped["id"])
    await superuser.execute("UPDATE messages SET content = left(content, 40) WHERE id = $1", cut["id"])
    await superuser.execute(put.format("content"), others["id"], of_rival["id"])

    with capture_logs() as logs:
        listed = {row["id"]: row for row in (await get(client, acme, "/messages")).json()}
    assert listed[whole["id"]]["content"] == SAID
    for broken in (moved, swapped, cut, others):
        assert listed[broken["id"]]["content"] == "[unreadable]"
        assert listed[broken["id"]]["error_code"] == "text_unreadable"
        assert listed[broken["id"]]["response"] == broken["response"]
        assert_kind(await get(client, acme, f"/messages/{broken['id']}"), 410, "text-unreadable")
        gone = await client.delete(f"/messages/{broken['id']}", headers=acme.user.headers)
        assert gone.status_code == 204
    assert [(line["event"], line["count"]) for line in logs if line["event"] == "texts_unreadable"] == [
        ("texts_unreadable", 4)
    ]


async def test_a_conversation_goes_on_with_what_is_sealed_and_not_with_what_does_not_open(
    service: tuple[FastAPI, httpx.AsyncClient], superuser: asyncpg.Connection
) -> None:
    _, client = service
    acme = await make_tenant(client)
    titled = {"title": "t" * 255, "system_prompt": "Be brief."}
    made = (await client.post("/conversations", json=titled, headers=acme.user.headers)).json()
    assert made["title"] == titled["title"]
    changed = await client.patch(f"/conversations/{made['id']}", json={"title": "Another"}, headers=acme.user.headers)
    assert (changed.json()["title"], changed.json()["system_prompt"]) == ("Another", "Be brief.")
    # More than the words that would have room, were they counted as they are stored.
    body = {"content": "A turn. " * 40, "conversation_id": made["id"]}
    for _ in range(3):
        sent = await client.post("/messages", json=body, headers=acme.user.headers)
        assert sent.status_code == 201, sent.text
    usage = [row["input_tokens"] for row in (await get(client, acme, "/messages")).json()]
    assert usage == sorted(usage, reverse=True)
    assert len(set(usage)) == 3, "each was asked with the turns before it"
    await superuser.execute(
        "UPDATE conversations SET system_prompt = left(system_prompt, 30) WHERE id = $1", made["id"]
    )
    refused = await client.post("/messages", json=body, headers=acme.user.headers)
    assert_kind(refused, 410, "text-unreadable")
    assert (await get(client, acme, "/conversations")).json()[0]["system_prompt"] == "[unreadable]"


async def test_two_processes_that_seal_a_first_text_at_once_have_one_key(
    database_url: URL, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    async with (
        instance(database_url, tmp_path, **sealed) as (_, one),
        instance(database_url, tmp_path, **sealed) as (_, other),
    ):
        acme = await make_tenant(one)
        await asyncio.gather(*(send(client, acme.user, SAID) for client in (one, other) * 3))
        for client in (one, other):
            assert [row["content"] for row in (await get(client, acme, "/messages")).json()] == [SAID] * 6


async def test_a_key_that_is_missing_is_not_made_anew_and_a_directory_that_is_away_is_waited_for(
    service: tuple[FastAPI, httpx.AsyncClient], keys: Path
) -> None:
    app, client = service
    acme, other = await make_tenant(client), await make_tenant(client)
    sent = await send(client, acme.user, SAID)
    texts = app.state.container.database.texts
    away = keys.rename(keys.with_name("away"))
    texts.forget(acme.id)
    try:
        keys.mkdir()
        assert_kind(await get(client, acme, f"/messages/{sent['id']}"), 503, "text-keys-unavailable")
        refused = await client.post("/messages", json={"content": SAID}, headers=acme.user.headers)
        assert_kind(refused, 503, "text-keys-unavailable")
        refused = await client.post("/messages", json={"content": SAID}, headers=other.user.headers)
        assert_kind(refused, 503, "text-keys-unavailable")
    finally:
        keys.rmdir()
        away.rename(keys)
    assert (await get(client, acme, f"/messages/{sent['id']}")).json()["content"] == SAID
    await send(client, other.user, SAID)

    kept = (keys / f"{acme.id}.key").rename(keys / "elsewhere")
    texts.forget(acme.id)
    assert (await get(client, acme, "/messages")).json()[0]["content"] == "[unreadable]"
    refused = await client.post("/messages", json={"content": SAID}, headers=acme.user.headers)
    assert_kind(refused, 503, "text-keys-unavailable")
    kept.rename(keys / f"{acme.id}.key")
    await send(client, acme.user, SAID)


async def test_a_start_without_what_opens_the_texts_is_refused_by_name(
    database_url: URL, tmp_path: Path, sealed: dict[str, Any], keys: Path
) -> None:
    async with instance(database_url, tmp_path, **sealed) as (_, client):
        acme = await make_tenant(client)
        sent = await send(client, acme.user, SAID)
    empty = tmp_path / "another"
    empty.mkdir()
    for changes, named in (
        ({"text_keys_dir": "", "encrypt_text": False}, "TEXT_KEYS_DIR: tenants have encrypted texts"),
        ({"text_keys_dir": "", "encrypt_text": False, "master_key": ""}, "MASTER_KEY: tenants have encrypted texts"),
        ({"master_key": CHANGED_KEY}, "MASTER_KEY: it does not open all keys of texts"),
        ({"text_keys_dir": str(empty)}, "TEXT_KEYS_DIR: it is not the directory"),
    ):
        with pytest.raises(UnusableSetting, match=named):
            async with instance(database_url, tmp_path, **{**sealed, **changes}):
                pass
    for changes, named in (
        ({"text_keys_dir": ""}, "ENCRYPT_TEXT needs TEXT_KEYS_DIR"),
        ({"text_keys_dir": str(tmp_path / "nowhere")}, "TEXT_KEYS_DIR must be a directory"),
        ({"master_key": ""}, "ENCRYPT_TEXT needs a MASTER_KEY"),
    ):
        with pytest.raises(ValueError, match=named):
            make_settings(database_url, tmp_path, **{**sealed, **changes})
    idle = {**sealed, "encrypt_text": False, "master_key": "", "text_keys_dir": str(tmp_path / "nowhere")}
    assert make_settings(database_url, tmp_path, **idle).key_files() is None
    with pytest.raises(UnusableSetting, match="MASTER_KEY: tenants have encrypted texts"):
        async with instance(database_url, tmp_path, **idle):
            pass

    old = make_settings(database_url, tmp_path).master_key.get_secret_value()
    rotated = {**sealed, "master_key": CHANGED_KEY, "previous_master_keys": [old]}
    said = await rotate_master_key(make_settings(database_url, tmp_path, **rotated))
    assert said.endswith("all are under the present MASTER_KEY")
    async with instance(database_url, tmp_path, **{**rotated, "previous_master_keys": []}) as (_, client):
        assert (await get(client, acme, f"/messages/{sent['id']}")).json()["content"] == SAID
    back = {**sealed, "previous_master_keys": [CHANGED_KEY]}
    await rotate_master_key(make_settings(database_url, tmp_path, **back))
    assert (keys / f"{acme.id}.key").exists()


async def test_the_key_goes_with_the_tenant_before_anything_else(
    service: tuple[FastAPI, httpx.AsyncClient], keys: Path
) -> None:
    _, client = service
    acme, rival = await make_tenant(client), await make_tenant(client)
    for tenant in (acme, rival):
        await send(client, tenant.user, SAID)
    assert (keys / f"{acme.id}.key").stat().st_mode & 0o777 == 0o600
    assert (await erase(client, acme)).status_code == 204
    assert not (keys / f"{acme.id}.key").exists()
    assert (await get(client, rival, "/messages")).json()[0]["content"] == SAID
