"""A tenant whose every text is written by an attacker: as far as the interface lets it be, and beyond."""

import json
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from tests.conftest import dsn
from tests.console.deployment import Deployment
from tests.helpers import Tenant
from tests.waiting import until

MARK = "h0stile"
TEXT = f"""{MARK}'"><img src=x onerror=ran=1><script>ran=1</script>{{{{ran=1}}}}"""
SHORT = f"{MARK}<img src=x onerror=ran=1>"
LINK = f"javascript:ran='{MARK}'"
LONG = MARK + "w" * 200
# Where one of them would have become a part of the page.
INJECTED = "script:not([src]), img[src='x'], [onerror], [onload], a[href^='javascript:' i]"
TOOL = {
    "name": "look_up",
    "description": TEXT,
    "parameters": {"type": "object", "properties": {"what": {"type": "string", "enum": [TEXT]}}, "required": ["what"]},
}
# What no client can write into the rows.
BEYOND = """
UPDATE users SET email = $2 || id WHERE tenant_id = $1 AND id = $4;
UPDATE tenants SET event_webhook_url = $3, allowed_models = ARRAY[$2, 'mock-echo'] WHERE id = $1;
UPDATE api_keys SET prefix = '"><svg onload=ran=1>', allowed_models = ARRAY[$2] WHERE tenant_id = $1;
UPDATE invites SET email = $2 WHERE tenant_id = $1;
UPDATE messages SET model = $2, asked_model = $2, webhook_url = $3 WHERE tenant_id = $1;
UPDATE messages SET citations = $6::jsonb WHERE tenant_id = $1 AND id = $5;
UPDATE usage_days SET model = $2 WHERE tenant_id = $1;
UPDATE documents SET media_type = left($2, 100) WHERE tenant_id = $1;
UPDATE audit_log SET address = $7, request_id = $2, details = jsonb_build_object($2, $2, 'link', $3)
  WHERE tenant_id = $1;
INSERT INTO audit_log (id, tenant_id, action, actor_type, target_id, details)
  VALUES (gen_random_uuid()::text, $1, $7, 'anonymous', left($2, 36), '{}');
UPDATE provider_keys SET base_url = $3 WHERE tenant_id = $1;
"""


@dataclass
class Hostile:
    """`ids` by what they are of; `tenant` has an admin and a user as any."""

    tenant: Tenant
    ids: dict[str, str] = field(default_factory=dict)


async def hostile_tenant(service: Deployment) -> Hostile:
    tenant = await service.tenant(TEXT)
    hostile = Hostile(tenant)
    async with service.client() as client:
        await _write(client, hostile)
    await _write_beyond(service, hostile)
    return hostile


async def _write(client: httpx.AsyncClient, hostile: Hostile) -> None:
    admin, user = hostile.tenant.admin.headers, hostile.tenant.user.headers

    async def make(path: str, body: dict[str, Any], headers: dict[str, str] = admin) -> str:
        answer = await client.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 201, 202), answer.text
        return str(answer.json()["id"])

    ids = hostile.ids
    ids["key"] = await make("/api-keys", {"name": TEXT, "scopes": ["messages:read", "messages:write"]})
    ids["invite"] = await make("/admin/invites", {"email": "guest@acme.com"})
    ids["conversation"] = await make("/conversations", {"title": TEXT, "system_prompt": TEXT}, user)
    said = {"content": f"{TEXT}\n{LONG}", "metadata": {TEXT[:64]: TEXT, "link": LINK}}
    talk = {**said, "conversation_id": ids["conversation"], "reasoning_effort": "low"}
    ids["message"] = await make("/messages", talk, user)
    ids["call"] = await make("/messages", {**said, "tools": [TOOL], "tool_choice": "required"}, user)
    document = {"name": TEXT, "collection": TEXT, "attributes": {TEXT[:60]: TEXT}, "text": f"# {TEXT}\n\n{TEXT} {LONG}"}
    ids["document"] = await make("/documents", document)
    key = {"api_key": "sk-<b>&"}
    set_key = await client.put("/admin/providers/openai", params={"test": "false"}, json=key, headers=admin)
    assert set_key.status_code == 200, set_key.text
    limit, of_user = {"limit_micro_usd": 10**6}, f"/admin/users/{hostile.tenant.user.id}/budget"
    assert (await client.put(of_user, json=limit, headers=admin)).status_code == 200

    async def read() -> bool:
        found = await client.get(f"/documents/{ids['document']}", headers=admin)
        return bool(found.json()["status"] == "ready")

    await until(read, "the document to be read")
    ids["entry"] = (await client.get("/admin/audit-log", headers=admin)).json()[0]["id"]


async def _write_beyond(service: Deployment, hostile: Hostile) -> None:
    tenant, ids = hostile.tenant, hostile.ids
    passage = {
        "source": 1, "document_id": ids["document"], "chunk_id": ids["document"], "name": TEXT, "page": 1,
        "heading": TEXT, "start": 0, "end": 10, "cited_text": TEXT, "score": 0.5,
    }  # fmt: skip
    values = {"$1": tenant.id, "$2": TEXT, "$3": LINK, "$4": tenant.user.id, "$5": ids["message"]}
    values |= {"$6": json.dumps([passage]), "$7": SHORT}
    statements = BEYOND
    for name, value in values.items():
        statements = statements.replace(name, "'" + value.replace("'", "''") + "'")
    connection = await asyncpg.connect(dsn(service.database.url))
    try:
        await connection.execute("SET session_replication_role = replica;" + statements)
    finally:
        await connection.close()
