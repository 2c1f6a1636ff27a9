"""A tenant with something in every table, and what an operator does with its file."""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from app.commands.portable import export_tenant, import_tenant
from app.core.config import Settings
from app.db.session import Database
from app.services.portable.tables import PORTABLE
from tests.documents.library import HashEmbedder, publish
from tests.helpers import Tenant, make_tenant, send

Line = dict[str, Any]
TEXT = "Leases are renewed every five seconds. " * 20


async def furnished(app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection) -> Tenant:
    """A tenant with messages of every end, documents that are found, and a key of its own at a provider."""
    tenant = await make_tenant(client)
    user, admin = tenant.user.headers, tenant.admin.headers

    async def done(method: str, path: str, headers: dict[str, str] = user, **body: Any) -> dict[str, Any]:
        answer = await client.request(method, path, json=body or None, headers=headers)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json() if answer.content else {}

    talk = await done("POST", "/conversations", title="Talk \u2028", system_prompt="Be brief")
    once = {**user, "Idempotency-Key": "one"}
    await done(
        "POST", "/messages", once, content="Ünïcode \u0085 and\nlines", metadata={"a": "b"}, conversation_id=talk["id"]
    )
    tools = [{"name": "weather", "parameters": {"type": "object", "n": 1e-7}}]
    await done("POST", "/messages", content="What is the weather?", tools=tools)
    await done("DELETE", f"/messages/{(await send(client, tenant.user))['id']}")
    await done("PUT", "/admin/budget", admin, limit_micro_usd=10**9)
    await done("PUT", "/admin/budget", admin, limit_micro_usd=10**9, period="day")
    await done("PUT", f"/admin/users/{tenant.user.id}/budget", admin, limit_micro_usd=10**8)
    await done("POST", "/admin/invites", admin, email="guest@acme.com")
    await done("PATCH", f"/tenants/{tenant.id}", admin, cache_ttl_seconds=60, default_model="mock-echo")
    await done("PUT", "/admin/providers/openai?test=false", admin, api_key="sk-0123456789")
    failed = await send(client, tenant.user, "What failed")
    statements = f"""
        UPDATE messages SET status = 'failed', error_code = 'interrupted', cost_micro_usd = 1234567, attempts = 3,
          created_at = now() - interval '40 days', input_tokens = 10 WHERE id = '{failed["id"]}';
        UPDATE budgets SET spent_micro_usd = 7654321, ceiling_micro_usd = 90000000 WHERE user_id IS NULL;
        INSERT INTO budget_alerts (tenant_id, holder, period_unit, period, threshold, kind, limit_micro_usd,
          spent_micro_usd) VALUES ('{tenant.id}', '', 'month', '2026-01-01', 50, 'tenant', 10, 5);
        INSERT INTO embedding_hours (tenant_id, hour, user_id, model, tokens, cost_micro_usd)
          VALUES ('{tenant.id}', date_trunc('hour', now()), '', 'hash', 17, 23);
        INSERT INTO document_totals (tenant_id, ingestion_seconds) VALUES ('{tenant.id}', 1.25)
    """
    await superuser.execute(statements)
    database: Database = app.state.container.database
    for name, visibility in (("leases.md", "tenant"), ("mine.md", "private")):
        options = {"name": name, "visibility": visibility, "attributes": {"n": 1.5}}
        await publish(database, tenant.user, TEXT, embedder=HashEmbedder(), **options)  # type: ignore[arg-type]
    await superuser.execute(
        "UPDATE document_totals SET documents = 2, chunks = current_chunks WHERE tenant_id = $1", tenant.id
    )
    return tenant


async def taken_along(settings: Settings, tenant: Tenant, path: Path) -> Path:
    await export_tenant(argparse.Namespace(tenant_id=tenant.id, file=str(path)), settings)
    return path


async def taken_in(settings: Settings, path: Path, **options: Any) -> str:
    given = {"file": str(path), "region": None, "after_erasure": False, **options}
    return await import_tenant(argparse.Namespace(**given), settings)


def lines_in(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewritten(path: Path, to: Path, change: Callable[[list[Line]], Any]) -> Path:
    """The file as somebody would write it who means to be believed: with the right digest and counts."""
    lines = lines_in(path)
    end = lines.pop()
    change(lines)
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    counts = {exported.type: 0 for exported in PORTABLE} | Counter(str(line["type"]) for line in lines)
    end |= {"counts": counts, "sha256": hashlib.sha256(text).hexdigest()}
    to.write_bytes(text + json.dumps(end).encode() + b"\n")
    return to


async def rows_of(superuser: asyncpg.Connection, tenant_id: str) -> dict[str, int]:
    """The tenant's rows by table."""
    tables = await superuser.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    queries = [f"SELECT '{table}', count(*) FROM {table} WHERE tenant_id = $1" for (table,) in tables]
    queries.append("SELECT 'tenants', count(*) FROM tenants WHERE id = $1")
    return {name: count for name, count in await superuser.fetch(" UNION ALL ".join(queries), tenant_id) if count}
