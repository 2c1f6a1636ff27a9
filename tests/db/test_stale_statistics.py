"""What changes or deletes a tenant's rows does not depend on what ANALYZE saw: a tenant grows faster than that runs.

Each statement is planned with the statistics of a database that held something else, and has one plan all the same: its
work follows from the rows that it is for.
"""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.ids import new_id
from app.db.batches import ALONG_THE_KEY, BEGINNING
from app.db.pagination import PageRequest
from app.messages.listing import listing
from app.messages.lookup import ONE
from app.messages.owned_content import (
    CONVERSATIONS_OF_USER,
    DELETE_CONVERSATION,
    DELETE_MESSAGE,
    IN_CONVERSATION,
    OF_USER,
    delete_idempotency_keys,
)
from app.services.api_key_service import ALL_LISTED as KEYS_LISTED
from app.services.api_key_service import NOTE_USE
from app.services.conversation_service import LISTED as CONVERSATIONS
from app.services.erase_service import GO_ON, emptying
from app.services.session_service import END_OLDEST
from app.services.user_service import USERS_LISTED
from tests.conftest import TEMPLATE, dsn, execute
from tests.db.plans import explained, shown, work

ROWS, BATCH, SESSIONS, KEPT = 4_000, 200, 12, 10
TENANT, USER, KEY, TALK = (new_id() for _ in range(4))
# Of the user, among the many rows of the tenant.
OWNED = 600
PAGE = 20
LISTED = {
    "messages": listing(frozenset()).all,
    "conversations": CONVERSATIONS.all,
    "users": USERS_LISTED,
    "keys": KEYS_LISTED,
}
TABLES = ("messages", "conversations", "users", "sessions", "api_keys", "idempotency_keys")
STATISTICS = {
    "none": "SELECT",
    "of an empty table": "SELECT fill(0, 0); ANALYZE",
    "of two rows": "SELECT fill(2, 1); ANALYZE",
    "of a row in each of many tenants": "SELECT fill(300, 1); ANALYZE",
    "of some rows in each of some tenants": "SELECT fill(30, 100); ANALYZE",
    "of another large tenant": "SELECT fill(1, 4000); ANALYZE",
}
FILL = """
CREATE FUNCTION fill_tenant(tenant text, size integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tenants (id, name) VALUES (tenant, tenant);
  INSERT INTO users (id, tenant_id, email, hashed_password, role)
    SELECT id, tenant, id || '@acme.com', 'x', 'user' FROM (SELECT gen_random_uuid()::text AS id
      FROM generate_series(1, size)) AS made;
  WITH owners AS (SELECT id, created_at, row_number() OVER (ORDER BY id) AS n FROM users WHERE tenant_id = tenant),
  said AS (INSERT INTO messages (id, tenant_id, user_id, content, status, created_at)
    SELECT gen_random_uuid()::text, tenant, id, 'x', 'completed', now() - n * interval '1 second' FROM owners),
  held AS (INSERT INTO conversations (id, tenant_id, user_id, created_at)
    SELECT gen_random_uuid()::text, tenant, id, now() - n * interval '1 second' FROM owners),
  keys AS (INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, key_hash, scopes)
    SELECT gen_random_uuid()::text, tenant, id, 'x', 'x', id, '{}' FROM owners)
  INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
    SELECT gen_random_uuid()::text, tenant, id, 'x', now() + interval '1 day' FROM owners;
$$;
CREATE FUNCTION fill(tenants integer, size integer) RETURNS void LANGUAGE sql AS $$
  SELECT fill_tenant(gen_random_uuid()::text, size) FROM generate_series(1, tenants)
$$;
"""
LARGE = f"""
SELECT fill_tenant('{TENANT}', {ROWS});
UPDATE tenants SET erasing_at = now() WHERE id = '{TENANT}';
INSERT INTO users (id, tenant_id, email, hashed_password, role)
  VALUES ('{USER}', '{TENANT}', '{USER}@acme.com', 'x', 'user');
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at, created_at)
  SELECT gen_random_uuid()::text, '{TENANT}', '{USER}', 'x', now() + interval '1 day', now() - n * interval '1 second'
  FROM generate_series(1, {SESSIONS}) AS n;
INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, key_hash, scopes)
  VALUES ('{KEY}', '{TENANT}', '{USER}', 'x', 'x', '{KEY}', '{{}}');
INSERT INTO conversations (id, tenant_id, user_id) VALUES ('{TALK}', '{TENANT}', '{USER}');
INSERT INTO conversations (id, tenant_id, user_id, created_at)
  SELECT gen_random_uuid()::text, '{TENANT}', '{USER}', now() - n * interval '6 seconds'
  FROM generate_series(1, {OWNED} - 1) AS n;
INSERT INTO messages (id, tenant_id, user_id, conversation_id, content, status, created_at)
  SELECT gen_random_uuid()::text, '{TENANT}', '{USER}', '{TALK}', 'x', 'completed', now() - n * interval '6 seconds'
  FROM generate_series(1, {OWNED}) AS n;
INSERT INTO idempotency_keys (tenant_id, user_id, key, request_hash, resource_id, expires_at)
  SELECT '{TENANT}', id, gen_random_uuid()::text, 'x', 'x', now() + interval '1 day' FROM users
  CROSS JOIN LATERAL generate_series(1, CASE WHEN users.id = '{USER}' THEN {OWNED} ELSE 1 END) AS n
  WHERE tenant_id = '{TENANT}'
"""
DELETIONS = {
    "messages of a user": (OF_USER, USER),
    "messages of a conversation": (IN_CONVERSATION, TALK),
    "conversations of a user": (CONVERSATIONS_OF_USER, USER),
    "idempotency keys of a user": (delete_idempotency_keys(BATCH), USER),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=STATISTICS)
async def grown(template_url: URL, request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    """A database with a tenant that came after the statistics."""
    name = f"stale_{secrets.token_hex(4)}"
    await execute(template_url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    connection = await asyncpg.connect(dsn(template_url.set(database=name)))
    try:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await connection.execute(FILL)
        await connection.execute(STATISTICS[request.param])
        await connection.execute(LARGE)
        yield connection
    finally:
        await connection.close()
    await execute(template_url.set(database="postgres"), f"DROP DATABASE {name}")


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
@pytest.mark.parametrize("table", ["messages", "conversations", "users"])
async def test_a_batch_of_an_erasure_works_through_its_own_rows(
    grown: asyncpg.Connection, table: str, generic: bool
) -> None:
    key = f"SELECT created_at, id FROM {table} WHERE tenant_id = $1 ORDER BY created_at, id OFFSET $2 LIMIT 1"
    middle = await grown.fetchrow(key, TENANT, ROWS // 2)
    for position in (BEGINNING, dict(middle)):
        values = {"tenant_id": TENANT, **position}
        plan = await explained(grown, TENANT, emptying(table, BATCH), values, generic=generic, first=GO_ON)
        assert work(plan) < 12 * BATCH, shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
@pytest.mark.parametrize("kind", DELETIONS)
async def test_a_batch_of_a_deletion_works_through_its_own_rows(
    grown: asyncpg.Connection, kind: str, generic: bool
) -> None:
    key = "SELECT created_at, id FROM messages WHERE conversation_id = $1 ORDER BY created_at, id OFFSET $2 LIMIT 1"
    middle = await grown.fetchrow(key, TALK, OWNED // 2)
    for position in (BEGINNING, dict(middle)):
        statement, owner = DELETIONS[kind]
        values = {"tenant_id": TENANT, "owner": owner, "rows": BATCH, **position}
        plan = await explained(grown, TENANT, statement, values, generic=generic, first=ALONG_THE_KEY)
        assert work(plan) < 12 * BATCH, shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
@pytest.mark.parametrize(("table", "statement"), [("messages", DELETE_MESSAGE), ("conversations", DELETE_CONVERSATION)])
async def test_what_is_deleted_at_its_place_is_found_there(
    grown: asyncpg.Connection, table: str, statement: Any, generic: bool
) -> None:
    found = await grown.fetchval(f"SELECT ctid FROM {table} WHERE tenant_id = $1 LIMIT 1", TENANT)
    values = {"tenant_id": TENANT, "place": found}
    plan = await explained(grown, TENANT, statement, values, generic=generic, first=ALONG_THE_KEY)
    assert work(plan) < 15, shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
async def test_what_logging_in_deletes_is_looked_for_among_the_users_sessions(
    grown: asyncpg.Connection, generic: bool
) -> None:
    values = {"tenant_id": TENANT, "user_id": USER, "kept": KEPT}
    plan = await explained(grown, TENANT, END_OLDEST, values, generic=generic)
    assert work(plan) < 8 * SESSIONS, shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
async def test_noting_the_use_of_a_key_reads_that_key(grown: asyncpg.Connection, generic: bool) -> None:
    plan = await explained(grown, TENANT, NOTE_USE, {"tenant_id": TENANT, "key_id": KEY}, generic=generic)
    assert work(plan) < 10, shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
@pytest.mark.parametrize("kind", LISTED)
async def test_a_page_of_a_list_reads_its_own_rows(grown: asyncpg.Connection, kind: str, generic: bool) -> None:
    middle = await grown.fetchval(f"SELECT now() - interval '{ROWS // 2} seconds'")
    values = {"tenant_id": TENANT, "last_created_at": middle, "last_id": new_id()}
    for page in (PageRequest(), PageRequest(skip=PAGE), PageRequest(cursor="after the middle")):
        values |= {"limit": PAGE + 1, "skip": page.skip}
        plan = await explained(grown, TENANT, LISTED[kind].page(page), values, generic=generic)
        assert work(plan) < 10 * (PAGE + 1), shown(plan)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
async def test_a_message_is_found_by_its_key(grown: asyncpg.Connection, generic: bool) -> None:
    found = await grown.fetchval("SELECT id FROM messages WHERE tenant_id = $1 LIMIT 1", TENANT)
    plan = await explained(grown, TENANT, ONE.all, {"tenant_id": TENANT, "id": found}, generic=generic)
    assert work(plan) < 10, shown(plan)
