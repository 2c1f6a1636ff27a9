"""The export: everything that the tenant owns, nothing that is secret, and an end that says that it is whole."""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.core.ids import new_id
from app.core.principal import Principal
from app.db.provision import newest_revision
from app.db.session import Database
from app.models import Base
from app.services import export_tables
from app.services.export_service import ExportService
from app.services.export_tables import EXPORTED, NOT_EXPORTED
from tests.documents.library import in_every_table
from tests.helpers import PASSWORD, Member, Tenant, send, unique_email

TENANT_TABLES = {
    name: table for name, table in Base.metadata.tables.items() if name == "tenants" or "tenant_id" in table.c
}


async def export(client: httpx.AsyncClient, admin: Member) -> list[dict[str, Any]]:
    answer = await client.get(f"/tenants/{admin.tenant_id}/export", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def furnish(client: httpx.AsyncClient, superuser: asyncpg.Connection, tenant: Tenant) -> None:
    """A row in every table that an export reads."""
    admin, user = tenant.admin.headers, tenant.user.headers
    talk = (
        await client.post("/conversations", json={"title": "Talk", "system_prompt": "Be brief"}, headers=user)
    ).json()
    body = {
        "content": "Ünïcode \u2028 \u0085 and\nlines",
        "conversation_id": talk["id"],
        "webhook_url": "https://hook.invalid/",
    }
    await client.post("/messages", json=body, headers={**user, "Idempotency-Key": "one"})
    await client.delete(f"/messages/{(await send(client, tenant.user))['id']}", headers=user)
    await superuser.execute(
        "INSERT INTO budget_alerts (tenant_id, holder, period_unit, period, threshold, kind, limit_micro_usd,"
        " spent_micro_usd) VALUES ($1, '', 'month', '2026-01-01', 50, 'tenant', 10, 5)",
        tenant.id,
    )
    await client.put("/admin/budget", json={"limit_micro_usd": 10**9}, headers=admin)
    await client.put("/admin/budget", json={"limit_micro_usd": 10**9, "period": "day"}, headers=admin)
    await client.put(f"/admin/users/{tenant.user.id}/budget", json={"limit_micro_usd": 7}, headers=admin)
    await client.post("/api-keys", json={"name": "a key", "scopes": ["messages:read"]}, headers=user)
    await client.put("/admin/providers/openai?test=false", json={"api_key": "sk-0123456789"}, headers=admin)
    await client.post("/admin/invites", json={"email": unique_email()}, headers=admin)
    await superuser.execute(
        "INSERT INTO message_contents (tenant_id, message_id, request)"
        """ SELECT tenant_id, id, '{"items": []}' FROM messages WHERE tenant_id = $1""",
        tenant.id,
    )
    await in_every_table(superuser, tenant.user)


def test_every_table_and_column_of_a_tenant_is_exported_or_left_out_for_a_reason() -> None:
    exported = {entry.table.name: set(entry.columns) for entry in EXPORTED}
    for name, table in TENANT_TABLES.items():
        if name in NOT_EXPORTED:
            assert name not in exported
            continue
        left_out = {entry.partition(".")[2] for entry in NOT_EXPORTED if entry.startswith(f"{name}.")}
        assert name in exported, f"{name} is neither exported nor on the list of what is not"
        assert not exported[name] & left_out
        assert exported[name] | left_out == {column.name for column in table.c}, name


@pytest.mark.parametrize("entry", EXPORTED, ids=lambda entry: entry.type)
async def test_the_key_of_each_table_is_unique_in_a_tenant(
    superuser: asyncpg.Connection, entry: export_tables.ExportedTable
) -> None:
    indexed = await superuser.fetch(
        "SELECT ARRAY("
        "  SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY(indkey)) AS names "
        "FROM pg_index WHERE indrelid = $1::text::regclass AND indisunique AND indpred IS NULL",
        entry.table.name,
    )
    assert any(set(row["names"]) <= {"tenant_id", *entry.key} for row in indexed)


async def test_an_export_holds_every_row_of_the_tenant_with_its_values(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    await furnish(client, superuser, acme)
    await furnish(client, superuser, rival)

    text = (await client.get(f"/tenants/{acme.id}/export", headers=acme.admin.headers)).content

    *written, _ = text.splitlines(keepends=True)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["type"] for line in lines[:1] + lines[-1:]] == ["tenant", "end"]
    counted = Counter(line["type"] for line in lines[:-1])
    assert lines[-1] == {
        "type": "end",
        "form": "export",
        "schema": newest_revision(),
        "counts": dict(counted),
        "sha256": hashlib.sha256(b"".join(written)).hexdigest(),
    }
    for entry in EXPORTED:
        tenant = "id" if entry.type == "tenant" else "tenant_id"
        stored = await superuser.fetch(f"SELECT * FROM {entry.table.name} WHERE {tenant} = $1", acme.id)
        expected = [{column: rendered(row[column]) for column in entry.columns} for row in stored]
        found = [{k: v for k, v in line.items() if k != "type"} for line in lines if line["type"] == entry.type]
        assert stored
        assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, expected))


def rendered(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value if isinstance(value, (str, int, list, type(None))) else str(value)


async def test_no_secret_and_no_hash_of_one_is_in_an_export(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await furnish(client, superuser, acme)
    await client.post("/refresh", json={"refresh_token": (await granted(client, acme.user))["refresh_token"]})

    text = json.dumps(await export(client, acme.admin))

    secrets = 0
    for left_out, reason in NOT_EXPORTED.items():
        table, _, column = left_out.partition(".")
        if reason != "a secret":
            continue
        tenant = "id" if table == "tenants" else "tenant_id"
        for (value,) in await superuser.fetch(f"SELECT {column} FROM {table} WHERE {tenant} = $1", acme.id):
            secrets += value is not None
            assert value is None or value not in text
    assert secrets >= 6


async def granted(client: httpx.AsyncClient, member: Member) -> dict[str, Any]:
    body: dict[str, Any] = (await client.post("/login", json={"email": member.email, "password": PASSWORD})).json()
    return body


async def test_an_export_of_several_pages_has_every_row_once_and_newest_first(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await insert_messages(superuser, acme, 1203, octets=10)
    # One moment for many rows: the id decides.
    await superuser.execute("UPDATE messages SET created_at = '2026-01-01Z' WHERE tenant_id = $1", acme.id)

    lines = await export(client, acme.admin)

    ids = [line["id"] for line in lines if line["type"] == "message"]
    stored = await superuser.fetch("SELECT id FROM messages WHERE tenant_id = $1 ORDER BY id DESC", acme.id)
    assert ids == [row["id"] for row in stored]
    assert lines[-1]["counts"]["message"] == 1203


async def insert_messages(superuser: asyncpg.Connection, tenant: Tenant, count: int, octets: int) -> None:
    await superuser.execute(
        "INSERT INTO messages (id, tenant_id, user_id, content, response, status)"
        " SELECT gen_random_uuid()::text, $1::text, $2::text, 'Hello', repeat('x', $4::int), 'completed'"
        " FROM generate_series(1, $3::int)",
        tenant.id,
        tenant.user.id,
        count,
        octets,
    )


async def test_a_page_of_long_messages_is_bounded_in_bytes(
    database_url: URL, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    size = 700_000
    await insert_messages(superuser, acme, 5, octets=size)
    session = await superuser.fetchval("SELECT id FROM sessions WHERE user_id = $1", acme.admin.id)
    database = Database(database_url, pool_size=1)
    service = ExportService(database.tenant_session(Principal(acme.admin.id, acme.id, "admin", 0, session)))
    try:
        pieces = [piece async for piece in await service.begin()]
    finally:
        await database.close()

    assert b"".join(pieces).count(b'"type":"message"') == 5
    assert max(map(len, pieces)) < 2_000_000


async def test_an_export_is_noted_in_the_audit_log(client: httpx.AsyncClient, acme: Tenant) -> None:
    lines = await export(client, acme.admin)

    entries = (await client.get("/admin/audit-log?action=tenant.exported", headers=acme.admin.headers)).json()
    assert [(entry["actor_id"], entry["target_id"]) for entry in entries] == [(acme.admin.id, acme.id)]
    assert "tenant.exported" in [line.get("action") for line in lines]


async def test_an_export_is_for_admins_of_that_tenant_alone(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    path = f"/tenants/{acme.id}/export"
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=acme.user.headers)).status_code == 403
    real = await client.get(path, headers=rival.admin.headers)
    made_up = await client.get(f"/tenants/{new_id()}/export", headers=rival.admin.headers)
    assert real.status_code == made_up.status_code == 403
    assert real.json()["detail"] == made_up.json()["detail"]


async def test_an_error_before_the_first_line_is_a_problem(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await superuser.execute("UPDATE users SET disabled_at = now() WHERE id = $1", acme.admin.id)
    answer = await client.get(f"/tenants/{acme.id}/export", headers=acme.admin.headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
