"""Dating back what was made today, and what the audit log would hold of two months."""

import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from app.core.ids import new_id
from demo.firm import ADMIN, DAYS, PEOPLE

ADDRESS = "127.0.0.1"
# How old things are, in days.
DOCUMENTS_DAYS, INVITES_DAYS, SETTINGS_DAYS, DELETION_DAYS = 24, 1, 20, 3

TENANT = "UPDATE tenants SET created_at = $2 WHERE id = $1"
INVITES = "UPDATE invites SET created_at = $2, updated_at = $2 WHERE tenant_id = $1"
DOCUMENTS = """
UPDATE documents SET created_at = at, updated_at = at + (updated_at - created_at) FROM (
  SELECT id AS one, $2::timestamptz + row_number() OVER (ORDER BY id) * interval '31 hours' AS at
  FROM documents WHERE tenant_id = $1
) AS numbered WHERE tenant_id = $1 AND id = one
"""
USER = """
UPDATE users SET created_at = $3, updated_at = $3, disabled_at = disabled_at - $4::interval
WHERE tenant_id = $1 AND id = $2
"""
# What was noted of a thing that is there has its time; the rest has one of its own.
OF_THINGS = """
UPDATE audit_log SET created_at = things.created_at FROM (
  SELECT id, created_at FROM tenants UNION ALL SELECT id, created_at FROM users UNION ALL
  SELECT id, created_at FROM api_keys UNION ALL SELECT id, created_at FROM documents UNION ALL
  SELECT id, created_at FROM invites
) AS things WHERE audit_log.tenant_id = $1 AND audit_log.target_id = things.id AND audit_log.action LIKE '%.created'
"""
OF_ACTIONS = "UPDATE audit_log SET created_at = created_at - $3::interval WHERE tenant_id = $1 AND action = $2"
OF_USER = f"{OF_ACTIONS} AND target_id = $4"
ACTIONS = {"budget.set": SETTINGS_DAYS, "tenant.changed": SETTINGS_DAYS, "message.deleted": DELETION_DAYS}
INSERT = """
INSERT INTO audit_log (id, tenant_id, action, actor_type, actor_id, target_id, address, details, created_at)
SELECT id, $1, action, actor_type, actor_id, target_id, address, COALESCE(details, '{}'), created_at
FROM jsonb_to_recordset($2::jsonb) AS a (id text, action text, actor_type text, actor_id text, target_id text,
  address text, details jsonb, created_at timestamptz)
"""


async def date_back(owner: asyncpg.Connection, tenant_id: str, users: Mapping[str, str], now: datetime) -> None:
    """Everything, in the transaction of `owner`; nobody has done it before."""
    await owner.execute(TENANT, tenant_id, now - timedelta(days=DAYS))
    await owner.execute(INVITES, tenant_id, now - timedelta(days=INVITES_DAYS))
    await owner.execute(DOCUMENTS, tenant_id, now - timedelta(days=DOCUMENTS_DAYS))
    for person in PEOPLE:
        user_id, ago = users[person.name], timedelta(days=person.leaves)
        await owner.execute(USER, tenant_id, user_id, now - timedelta(days=person.joined), ago)
        if person.leaves:
            await owner.execute(OF_USER, tenant_id, "user.changed", ago, user_id)
    await owner.execute(OF_THINGS, tenant_id)
    for action, days in ACTIONS.items():
        await owner.execute(OF_ACTIONS, tenant_id, action, timedelta(days=days))
    await owner.execute(INSERT, tenant_id, json.dumps(_noted(users, now), default=str))


def _noted(users: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
    """Logins, wrong passwords, and what admins did, oldest first."""
    dice = random.Random(61)  # noqa: S311 - nothing is secret here
    entries = []
    for person in PEOPLE:
        ago = float(person.joined)
        while (ago := ago - dice.uniform(1.5, 7)) > person.leaves:
            at = now - timedelta(days=ago)
            entries.append(_entry("session.begun", users[person.name], users[person.name], at))
            if dice.random() < 0.15:
                refused = {"times": dice.randint(1, 4), "addresses": [ADDRESS]}
                entries.append(_entry("login.refused", None, users[person.name], at - timedelta(minutes=1), refused))
    admin = users[ADMIN.name]
    for ago, action, target, details in (
        (38, "user.changed", users["tomasz"], {"role": "admin"}),
        (29, "api_key.revoked", new_id(), {"name": "trial", "user_id": users["samuel"]}),
        (19, "audit_log.read", admin, {"times": 3}),
        (11, "users.read", admin, {"times": 2}),
        (9, "tenant.exported", None, {}),
        (4, "conversation.deleted", new_id(), {"user_id": users["elena"]}),
    ):
        entries.append(_entry(action, admin, target, now - timedelta(days=ago, hours=2), details))
    return sorted(entries, key=lambda entry: entry["created_at"])


def _entry(
    action: str, actor_id: str | None, target_id: str | None, at: datetime, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    kind = "user" if actor_id else "anonymous"
    return {
        "id": new_id(),
        "action": action,
        "actor_type": kind,
        "actor_id": actor_id,
        "target_id": target_id,
        "address": ADDRESS,
        "details": details or {},
        "created_at": at,
    }
