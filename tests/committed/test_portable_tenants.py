"""A tenant goes to another deployment as a file: it works there as it did, and no file is believed."""

import argparse
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import URL

from app.cli import set_password
from app.commands.portable import export_tenant
from app.core.config import Settings
from app.core.credentials.envelope import MasterKeys
from app.core.credentials.text_key import MARK
from app.core.errors import ProviderKeyUnusable, TenantNotFound
from app.core.ids import new_id
from app.db.provision import provision
from app.documents.embedding.embedders import Embedders
from app.documents.ingestion import Ingestion
from app.documents.totals import Quotas
from app.services.portable import arriving
from app.services.portable.file import ExportFile
from app.services.portable.refusal import Refused
from app.services.portable.rows import Arrival
from tests.committed.portable import Line, furnished, lines_in, rewritten, rows_of, taken_along, taken_in
from tests.conftest import dsn, make_settings
from tests.documents.library import FREE, HashEmbedder
from tests.helpers import PASSWORD, Tenant
from tests.own_database import own_database
from tests.sessions import instance

OTHER_SECRET = {"secret_key": "of-another-deployment-" * 3}
QUOTAS = Quotas(1000, 10**9, 10_000, 10_000)
# What another deployment writes of itself.
VOLATILE = {"audit_entry", "end"}


@dataclass(frozen=True)
class Old:
    """Where a tenant comes from: its file of each form, and what its service said."""

    tenant: Tenant
    portable: Path
    exported: Path
    key: str
    said: dict[str, bytes]
    found: bytes
    derived: list[list[str]]
    settings: Settings


ASKED = (
    "/messages?limit=100",
    "/conversations",
    "/documents",
    "/admin/budget",
    "/admin/providers",
    "/usage?group_by=day",
    "/usage?group_by=user",
    "/usage?group_by=model",
)


def embed_by_words(app: FastAPI) -> None:
    container = app.state.container
    app.state.container = replace(container, shared=replace(container.shared, embedders=Embedders(HashEmbedder())))


async def said_by(client: httpx.AsyncClient, tenant: Tenant, headers: dict[str, str]) -> dict[str, bytes]:
    said = {}
    for path in (*ASKED, f"/tenants/{tenant.id}/users"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        said[path] = answer.content
    return said


async def found_by(client: httpx.AsyncClient, headers: dict[str, str]) -> bytes:
    found = await client.post("/search", json={"query": "leases every five seconds"}, headers=headers)
    assert len(found.json()) >= 2, found.text
    return found.content


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def old(template_url: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Old]:
    directory = tmp_path_factory.mktemp("old")
    async with own_database(template_url) as own, instance(own.url, directory) as (app, client):
        embed_by_words(app)
        superuser = await asyncpg.connect(dsn(own.url))
        tenant = await furnished(app, client, superuser)
        made = await client.post(
            "/api-keys", json={"name": "old", "scopes": ["messages:read"]}, headers=tenant.user.headers
        )
        settings = make_settings(own.url, directory)
        # Asking costs something too: before anybody says how much.
        found = await found_by(client, tenant.admin.headers)
        said = await said_by(client, tenant, tenant.admin.headers)
        portable = await taken_along(settings, tenant, directory / "acme.portable")
        answer = await client.get(f"/tenants/{tenant.id}/export", headers=tenant.admin.headers)
        exported = directory / "acme.ndjson"
        exported.write_bytes(answer.content)
        made_of_it = await derived(superuser, tenant.id)
        await superuser.close()
        yield Old(tenant, portable, exported, made.json()["key"], said, found, made_of_it, settings)


@asynccontextmanager
async def deployment(
    template_url: URL, directory: Path, **changes: Any
) -> AsyncIterator[tuple[Settings, asyncpg.Connection, URL]]:
    """Another one, with nobody in it and a secret of its own."""
    async with own_database(template_url) as own:
        superuser = await asyncpg.connect(dsn(own.url))
        yield make_settings(own.url, directory, **OTHER_SECRET, **changes), superuser, own.url
        await superuser.close()


class Empty:
    """A deployment where nothing that is tried comes to be stored."""

    def __init__(self, connection: asyncpg.Connection, masters: MasterKeys | None) -> None:
        self.connection, self.masters = connection, masters

    async def refuses(self, path: Path, reason: str) -> None:
        with path.open("rb") as file, pytest.raises(Refused, match=reason):
            await arriving.arrive(self.connection, file, self.masters, "no password's")
        assert await self.connection.fetch("SELECT id FROM tenants") == []
        assert await self.connection.fetch("SELECT id FROM users") == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def empty(template_url: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Empty]:
    async with deployment(template_url, tmp_path_factory.mktemp("empty")) as (settings, superuser, _):
        yield Empty(superuser, settings.master_keys())


def told(path: Path) -> list[str]:
    lines = [line for line in lines_in(path) if line["type"] not in VOLATILE]
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


async def derived(superuser: asyncpg.Connection, tenant_id: str) -> list[list[str]]:
    """What no file holds: made of what it does."""
    queries = (
        "SELECT chunk_id || terms::text FROM chunk_terms WHERE tenant_id = $1 ORDER BY 1",
        "SELECT term || ' ' || chunks FROM term_frequencies WHERE tenant_id = $1 ORDER BY 1",
        "SELECT (to_jsonb(t) - 'served_at')::text FROM document_totals t WHERE tenant_id = $1",
        "SELECT id || COALESCE(has_contents::text, '') FROM messages WHERE tenant_id = $1 ORDER BY 1",
    )
    return [[text for (text,) in await superuser.fetch(query, tenant_id)] for query in queries]


async def test_a_tenant_is_the_same_on_another_deployment(template_url: URL, old: Old, tmp_path: Path) -> None:
    async with deployment(template_url, tmp_path) as (settings, superuser, url):
        said = await taken_in(settings, old.portable)

        assert f"{len(lines_in(old.portable)) - 1} lines imported" in said
        assert told(await taken_along(settings, old.tenant, tmp_path / "again")) == told(old.portable)
        made = await derived(superuser, old.tenant.id)
        assert made == old.derived
        assert all(made)
        async with instance(url, tmp_path, **OTHER_SECRET) as (app, client):
            embed_by_words(app)
            answer = await client.post("/login", json={"email": old.tenant.admin.email, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert await said_by(client, old.tenant, headers) == old.said
            assert await found_by(client, headers) == old.found
            by_key = await client.get("/messages?limit=100", headers={"Authorization": f"Bearer {old.key}"})
            assert by_key.content == old.said["/messages?limit=100"]
            # It lives on.
            sent = await client.post("/messages", json={"content": "Hello"}, headers=headers)
            assert sent.status_code == 201, sent.text

        assert "was imported from this file before: nothing has changed" in await taken_in(settings, old.portable)
        assert await superuser.fetchval("SELECT count(*) FROM messages WHERE id = $1", sent.json()["id"]) == 1
        entries = await superuser.fetch("SELECT details FROM audit_log WHERE action = 'tenant.imported'")
        assert len(entries) == 1


async def test_who_has_the_file_of_an_admin_alone_brings_no_credentials_along(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    async with deployment(template_url, tmp_path) as (settings, _, url):
        said = await taken_in(settings, old.exported)

        for left_out in ("1 API keys", "1 invites", "2 passwords", "2 sessions", "1 provider keys"):
            assert f"not taken over: {left_out}" in said
        async with instance(url, tmp_path, **OTHER_SECRET) as (app, client):
            embed_by_words(app)
            login = {"email": old.tenant.admin.email, "password": PASSWORD}
            assert (await client.post("/login", json=login)).status_code == 401
            assert (await client.get("/me", headers={"Authorization": f"Bearer {old.key}"})).status_code == 401
            arguments = argparse.Namespace(email=old.tenant.admin.email, keep_api_keys=False)
            await set_password(arguments, "another horse battery", settings)
            login["password"] = "another horse battery"
            answer = await client.post("/login", json=login)
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            now = await said_by(client, old.tenant, headers)
            for path, before in old.said.items():
                if path not in ("/documents", "/admin/providers"):
                    assert now[path] == before, path
            ingestion = Ingestion(app.state.container.database, Embedders(HashEmbedder()), QUOTAS, FREE)
            assert await ingestion.take_all() == 2
            assert documents_of(await said_by(client, old.tenant, headers)) == documents_of(old.said)
            assert await found_by(client, headers) == old.found


def documents_of(said: dict[str, bytes]) -> list[Line]:
    """But for when they were taken in."""
    return [{**document, "updated_at": None} for document in json.loads(said["/documents"])]


class Killed(BaseException):
    """As `kill -9`: nobody handles it."""


async def test_an_import_that_is_killed_leaves_nothing_and_may_be_repeated(
    template_url: URL, old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kill(*_: object) -> None:
        raise Killed

    async with deployment(template_url, tmp_path) as (settings, superuser, _):
        with monkeypatch.context() as patch:
            patch.setattr(arriving, "make_derived", kill)
            with pytest.raises(Killed):
                await taken_in(settings, old.portable)
        assert await rows_of(superuser, old.tenant.id) == {}

        await taken_in(settings, old.portable)
        assert told(await taken_along(settings, old.tenant, tmp_path / "again")) == told(old.portable)


Damage = Callable[[list[bytes]], list[bytes]]
DAMAGED: dict[str, tuple[Damage, str]] = {
    "cut": (lambda lines: lines[:-1], "no end line"),
    "cut within a line": (lambda lines: [*lines[:-1], lines[-1][:-9]], "no end line"),
    "empty": (lambda _: [], "no end line"),
    "of something else": (lambda _: [b"PK\x03\x04\n"], "no end line"),
    "shorter": (lambda lines: [*lines[:5], *lines[6:]], "changed, reordered or cut"),
    "changed": (lambda lines: [lines[0].replace(b"Tenant", b"tenant"), *lines[1:]], "changed, reordered or cut"),
    "reordered": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "changed, reordered or cut"),
    "a line doubled": (lambda lines: [*lines[:2], *lines[1:]], "changed, reordered or cut"),
    "doubled": (lambda lines: lines * 2, "goes on after its end"),
    "without a digest": (lambda lines: [*lines[:-1], b'{"type": "end", "counts": {}}\n'], "has no digest"),
    "of a later version": (
        lambda lines: [*lines[:-1], re.sub(rb'"schema": "\d+"', b'"schema": "9999"', lines[-1])],
        "schema 9999 is newer than this deployment's",
    ),
    "of a strange version": (
        lambda lines: [*lines[:-1], re.sub(rb'"schema": "\d+"', b'"schema": "1e9"', lines[-1])],
        "names no schema",
    ),
    "of a strange form": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"portable"', b'["portable"]')],
        "nothing that this version knows",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_file_that_is_not_as_it_was_written_is_refused(
    name: str, empty: Empty, old: Old, tmp_path: Path
) -> None:
    damage, reason = DAMAGED[name]
    path = tmp_path / "damaged"
    path.write_bytes(b"".join(damage(old.portable.read_bytes().splitlines(keepends=True))))
    await empty.refuses(path, reason)


async def test_a_file_that_changes_while_it_is_read_is_refused(
    empty: Empty, old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changing"
    path.write_bytes(old.portable.read_bytes())
    verify = ExportFile.verify

    def then_change(file: ExportFile) -> Any:
        end = verify(file)
        path.write_bytes(old.portable.read_bytes().replace(b"Be brief", b"Be large"))
        return end

    monkeypatch.setattr(ExportFile, "verify", then_change)
    await empty.refuses(path, "changed, reordered or cut")


def first(lines: list[Line], kind: str) -> Line:
    return next(line for line in lines if line["type"] == kind)


def change(kind: str, **values: Any) -> Callable[[list[Line]], Any]:
    return lambda lines: first(lines, kind).update(values)


def cheapen(lines: list[Line]) -> None:
    line = next(line for line in lines if line["type"] == "message" and line["price"] and line["attempts"] == 1)
    line["cost_micro_usd"] -= 1


def count_twice(lines: list[Line]) -> None:
    first(lines, "deleted_usage")["id"] = first(lines, "message")["id"]


def lengthen_a_vector(lines: list[Line]) -> None:
    first(lines, "chunk_vector")["embedding"] = "[1,2]"


STRANGER = new_id()
HOSTILE: dict[str, tuple[Callable[[list[Line]], Any], str]] = {
    "another's tenant": (change("message", tenant_id=STRANGER), r"Line \d+: it is another tenant's"),
    "another's user": (change("message", user_id=STRANGER), r"Line \d+: what it belongs to does not stand before it"),
    "another's conversation": (change("message", conversation_id=STRANGER), r"Line \d+: what it belongs to"),
    "another's document": (change("document_chunk", document_id=STRANGER), r"Line \d+: what it belongs to"),
    "another's message": (change("message_content", message_id=STRANGER), r"Line \d+: its message does not stand"),
    "an operator": (change("user", role="operator"), r"Line \d+: role is neither admin nor user"),
    "a scope": (change("api_key", scopes=["operator"]), r"Line \d+: scopes are none"),
    "an actor": (change("audit_entry", actor_type="god"), r"Line \d+: actor_type is none"),
    "a status": (
        change("message", status="paid"),
        r"Line \d+: no row of ours says that \(ck_messages_ck_messages_status\)",
    ),
    "no cost": (cheapen, r"Line \d+: cost_micro_usd is less than its tokens cost"),
    "a price of words": (
        change("message", price={"input": "free", "output": 1}, attempts=1),
        r"Line \d+: price is none",
    ),
    "a negative": (change("budget", spent_micro_usd=-1), r"Line \d+: spent_micro_usd is no whole number"),
    "usage twice": (count_twice, r"Line \d+: what was used would count twice"),
    "a number too large": (change("message", input_tokens=2**31), r"Line \d+: input_tokens is no whole number"),
    "a hash that takes days": (
        change("user", hashed_password=f"$2b$31${'a' * 53}"),
        r"Line \d+: hashed_password is no hash",
    ),
    "a hash that bcrypt does not know": (
        change("user", hashed_password=f"$2b$03${'a' * 53}"),
        r"Line \d+: hashed_password is no hash",
    ),
    "attempts up to the end of their type": (change("document", attempts=2**31 - 1), r"Line \d+: attempts or failures"),
    "a plain password": (change("user", hashed_password="secret"), r"Line \d+: hashed_password is no hash"),
    "a spelling of an email": (change("user", email="Alice@ACME.com"), r"Line \d+: email is not as this service"),
    "a column": (change("user", is_superuser=True), r"Line \d+: it has a column that .* 'is_superuser'"),
    "SQL for a column": (change("user", **{"id) VALUES ('": 1}), r"Line \d+: it has a column that"),
    "SQL for a type": (change("user", type="users; DROP TABLE users"), r"Line \d+: its type is none"),
    "a type that is a list": (change("user", type=["user"]), r"Line \d+: its type is none"),
    "no column": (lambda lines: first(lines, "user").pop("role"), r"Line \d+: it lacks role"),
    "nothing": (change("user", email=None), r"Line \d+: email is missing"),
    "no id": (change("user", id="' OR 1=1 --"), r"Line \d+: id is no id"),
    "half a character": (change("message", content="\ud800"), r"Line \d+: content holds half a character"),
    "no character": (change("message", content="\0"), r"Line \d+: content holds a character that is none"),
    "no character, further in": (change("message", metadata={"a": "\0"}), r"Line \d+: PostgreSQL does not take it"),
    "a day long ago": (change("message", created_at="0001-01-01T00:00:00Z"), r"Line \d+: created_at is a time that"),
    "a day to come": (change("message", created_at="2999-01-01T00:00:00Z"), r"Line \d+: created_at is a time that"),
    "no time": (change("message", created_at="2026-01-01"), r"Line \d+: created_at is no time"),
    "no vector": (change("chunk_vector", embedding="[1];DROP"), r"Line \d+: embedding is no vector"),
    "a vector of another length": (lengthen_a_vector, "of several lengths"),
    "too many passages": (change("document", chunks=99), "another number of passages than it says"),
    "no bytes": (change("provider_key", sealed="\\xzz"), r"Line \d+: sealed is no bytes"),
    "a second tenant": (lambda lines: lines.insert(1, lines[0]), "Line 2: it is a second tenant"),
    "no tenant": (lambda lines: lines.pop(0), "Line 1: it names no tenant|Line 1: it stands where the tenant does"),
    "children first": (lambda lines: lines.insert(1, first(lines, "message")), r"Line \d+: "),
    "a row twice": (lambda lines: lines.insert(3, first(lines, "user")), r"Line \d+: its id is there already"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_file_that_somebody_made_up_is_refused_by_its_line(
    name: str, empty: Empty, old: Old, tmp_path: Path
) -> None:
    act, reason = HOSTILE[name]
    await empty.refuses(rewritten(old.portable, tmp_path / "made-up", act), reason)


def test_no_file_makes_logins_dear() -> None:
    arrival = Arrival("portable", new_id(), f"$2b$04${'a' * 53}", None)
    user = {"role": "user", "email": "alice@acme.com", "hashed_password": f"$2b$18${'a' * 53}"}
    assert (arrival.take("user", user) or {})["hashed_password"] == arrival.no_password
    assert sum(arrival.left_out.values()) == 1
    kept = user | {"hashed_password": f"$2b$12${'a' * 53}"}
    assert arrival.take("user", kept) == kept


async def test_what_is_anothers_here_is_refused_and_so_is_another_file_of_the_tenant(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    async with deployment(template_url, tmp_path) as (settings, superuser, url):
        email = "user-of-another@acme.com"
        async with instance(url, tmp_path, **OTHER_SECRET) as (_, client):
            name = "Taken"
            body = {"name": name, "admin": {"email": email, "password": PASSWORD}}
            assert (await client.post("/create-tenant", json=body)).status_code == 201
        before = await counts(superuser)
        for act, reason in (
            (change("user", email=email), r"Line \d+: its email is another user's here"),
            (change("tenant", name=name), "Line 1: its name is another tenant's here"),
        ):
            with pytest.raises(Refused, match=reason):
                await taken_in(settings, rewritten(old.portable, tmp_path / "taken", act))
        assert await counts(superuser) == before

        await taken_in(settings, old.portable)
        before = await counts(superuser)
        another = rewritten(old.portable, tmp_path / "another", change("conversation", title="Another"))
        with pytest.raises(Refused, match="is here already, and not from this file"):
            await taken_in(settings, another)
        as_another = rewritten(old.portable, tmp_path / "as-another", rename_tenant)
        with pytest.raises(Refused, match=r"its .* is another|its id is there already"):
            await taken_in(settings, as_another)
        assert await counts(superuser) == before


async def counts(superuser: asyncpg.Connection) -> list[int]:
    tables = ("tenants", "users", "messages", "conversations", "audit_log", "budgets", "documents")
    return [await superuser.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


def rename_tenant(lines: list[Line]) -> None:
    """Another tenant that has the first one's people, by their ids."""
    for line in lines:
        line["id" if line["type"] == "tenant" else "tenant_id"] = STRANGER
    lines[0]["name"] = "Another"


async def test_a_tenant_that_was_erased_comes_back_only_where_somebody_says_so(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    async with deployment(template_url, tmp_path) as (settings, superuser, _):
        await superuser.execute("INSERT INTO erased_tenants (id) VALUES ($1)", old.tenant.id)
        with pytest.raises(Refused, match="was erased here"):
            await taken_in(settings, old.portable)
        assert "lines imported" in await taken_in(settings, old.portable, after_erasure=True)
        assert await superuser.fetchval("SELECT count(*) FROM erased_tenants") == 0


async def test_a_provider_key_that_cannot_be_opened_here_fails_and_is_nobody_elses(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    other = {"master_key": "of-another-deployment-" * 3}
    async with deployment(template_url, tmp_path, **other) as (settings, superuser, url):
        said = await taken_in(settings, old.portable)
        assert "1 provider keys, which fail its calls until an admin sets them again" in said
        # Under a master key that nobody here has, no process would start.
        assert await superuser.fetchval("SELECT count(*) FROM tenant_data_keys") == 0
        async with instance(url, tmp_path, **OTHER_SECRET, **other) as (app, _):
            with pytest.raises(ProviderKeyUnusable):
                await app.state.container.shared.provider_credentials.of(old.tenant.id, "openai")
    async with deployment(template_url, tmp_path, master_key="") as (settings, superuser, _):
        with pytest.raises(Refused, match="without MASTER_KEY its calls would go with the service's"):
            await taken_in(settings, old.portable)
        assert await counts(superuser) == [0] * 7


async def test_a_file_of_an_older_schema_lacks_what_came_since(empty: Empty, old: Old, tmp_path: Path) -> None:
    def age(lines: list[Line]) -> None:
        for line in lines:
            if line["type"] == "message":
                del line["asked_model"]
        del first(lines, "user")["role"]

    aged = rewritten(old.portable, tmp_path / "aged", age)
    aged.write_bytes(re.sub(rb'"schema": "\d+"', b'"schema": "0001"', aged.read_bytes()))
    # Nobody knows what it would have been.
    await empty.refuses(aged, r"Line \d+: it lacks role")


async def test_messages_that_ran_have_ended_and_nothing_is_sent_twice(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    def run(lines: list[Line]) -> None:
        first(lines, "message").update(status="pending", webhook_due_at="2026-11-26T10:00:00Z", claim_micro_usd=5)
        first(lines, "budget")["reserved_micro_usd"] = 5
        first(lines, "document").update(status="processing", current=False)

    async with deployment(template_url, tmp_path) as (settings, superuser, _):
        said = await taken_in(settings, rewritten(old.portable, tmp_path / "running", run))
        assert "1 messages that still ran" in said
        assert "1 webhooks that were due" in said
        pending = "SELECT count(*) FROM messages WHERE status = 'pending' OR webhook_due_at IS NOT NULL"
        assert await superuser.fetchval(pending) == 0
        assert await superuser.fetchval("SELECT sum(reserved_micro_usd) FROM budgets") == 0
        assert await superuser.fetchval("SELECT count(*) FROM messages WHERE error_code = 'interrupted'") == 2
        assert await superuser.fetchval("SELECT count(*) FROM documents WHERE status = 'queued' AND NOT taken") == 1


async def test_a_file_is_its_owners_alone_and_is_not_written_over(old: Old, tmp_path: Path) -> None:
    assert old.portable.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="is there already"):
        await taken_along(old.settings, old.tenant, old.portable)
    with pytest.raises(TenantNotFound):
        await export_tenant(argparse.Namespace(tenant_id=new_id(), file=str(tmp_path / "nobody")), old.settings)
    assert list(tmp_path.iterdir()) == []


async def test_a_login_that_rows_are_hidden_from_neither_exports_nor_imports(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    async with own_database(template_url) as own:
        login = own.url.set(username=f"runtime_{new_id()[:8]}", password="pw")
        await provision(own.url, login)
        with pytest.raises(Refused, match="MIGRATION_DATABASE_URL"):
            await taken_in(make_settings(login, tmp_path), old.portable)


async def test_a_file_is_read_line_by_line(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    with old.portable.open("rb") as file:
        monkeypatch.setattr("app.services.portable.file.MOST_LINE_BYTES", 100)
        with pytest.raises(Refused, match="Line 1: longer than 100 bytes"):
            ExportFile(file).verify()


async def test_texts_are_sealed_where_the_other_deployment_seals_them_and_are_in_plain_in_its_files(
    template_url: URL, old: Old, tmp_path: Path
) -> None:
    (tmp_path / "text-keys").mkdir()
    sealed = {"encrypt_text": True, "text_keys_dir": str(tmp_path / "text-keys")}
    async with (
        deployment(template_url, tmp_path, **sealed) as (settings, superuser, url),
        instance(url, tmp_path, **OTHER_SECRET, **sealed) as (_, client),
    ):
        await taken_in(settings, old.portable)

        for table in ("messages", "message_contents", "conversations", "document_contents", "document_chunks"):
            rows = " ".join(row for (row,) in await superuser.fetch(f"SELECT t::text FROM {table} t"))
            assert MARK[1:] in rows
            for text in ("What is the weather", "Be brief", "Leases are renewed", "weather"):
                assert text not in rows, (table, text)
        assert told(await taken_along(settings, old.tenant, tmp_path / "again")) == told(old.portable)
        answer = await client.post("/login", json={"email": old.tenant.admin.email, "password": PASSWORD})
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert await said_by(client, old.tenant, headers) == old.said
