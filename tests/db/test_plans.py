"""Lists and deletions in a large tenant read few rows, whoever acts.

As planned for the caller. A generic plan knows nothing of who asks: with ANALYZE's sample as the dice it may take users
with few rows for one with many, and PostgreSQL chooses it only where it looks no dearer.
"""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.ids import new_id
from app.services.conversation_service import LISTED
from app.services.message_list import listing
from app.services.message_statements import DELETE_OF_USER
from tests.conftest import TEMPLATE, dsn, execute
from tests.db.plans import explained, rows_read

ROWS, PAGE = 50_000, 20
TENANT, FEW, MANY = (new_id() for _ in range(3))
SEED = f"""
INSERT INTO tenants (id, name) VALUES ('{TENANT}', 'Large {TENANT}');
INSERT INTO users (id, tenant_id, email, hashed_password, role)
  SELECT id, '{TENANT}', id || '@acme.com', 'x', 'user' FROM unnest(ARRAY['{FEW}', '{MANY}']) AS id;
INSERT INTO messages (id, tenant_id, user_id, content, status, created_at)
  SELECT gen_random_uuid()::text, '{TENANT}', CASE WHEN n % 10000 = 1 THEN '{FEW}' ELSE '{MANY}' END, 'x', 'completed',
    now() - n * interval '1 second' FROM generate_series(1, {ROWS}) AS n;
INSERT INTO conversations (id, tenant_id, user_id, created_at)
  SELECT gen_random_uuid()::text, '{TENANT}', CASE WHEN n % 10000 = 1 THEN '{FEW}' ELSE '{MANY}' END,
    now() - n * interval '1 second' FROM generate_series(1, {ROWS}) AS n;
ANALYZE messages; ANALYZE conversations; ANALYZE tenants
"""
LISTS = {
    "messages": listing(frozenset()),
    "messages of a user": listing(frozenset({"user_id"})),
    "conversations": LISTED,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(template_url: URL) -> AsyncIterator[asyncpg.Connection]:
    """A database of its own: what other tests leave would change its statistics, and so the plans."""
    name = f"plans_{secrets.token_hex(4)}"
    await execute(template_url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    connection = await asyncpg.connect(dsn(template_url.set(database=name)))
    await connection.execute(SEED)
    yield connection
    await connection.close()


async def explain(
    connection: asyncpg.Connection, statement: Any, values: dict[str, Any], viewer: str = "*"
) -> tuple[Any, float]:
    """The number of rows that the statement gives and reads."""
    plan = await explained(connection, TENANT, statement, values, viewer=viewer)
    return plan["Actual Rows"], rows_read(plan)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", LISTS)
async def test_a_page_reads_about_as_many_rows_as_it_shows(large: asyncpg.Connection, kind: str, *, own: bool) -> None:
    by_offset, by_cursor = LISTS[kind].own if own else LISTS[kind].all
    for viewer in (FEW, MANY):
        values = {"tenant_id": TENANT, "viewer_id": viewer, "user_id": FEW, "limit": PAGE + 1, "skip": 0}
        middle = await large.fetchval(f"SELECT now() - interval '{ROWS // 2} seconds'")
        for statement in (by_offset, by_cursor):
            further = {**values, "last_created_at": middle, "last_id": new_id()}
            rows, read = await explain(large, statement, further, viewer if own else "*")
            seen_by_few = 5 if statement is by_offset else 2
            narrowed = kind == "messages of a user" or (own and viewer == FEW)
            expected = seen_by_few if narrowed else PAGE + 1
            if kind == "messages of a user" and own and viewer == MANY:
                expected = 0
            assert (viewer, rows) == (viewer, expected)
            assert read <= 3 * (PAGE + 1), (viewer, rows, read)


async def test_deleting_a_users_messages_reads_about_those(large: asyncpg.Connection) -> None:
    _, read = await explain(large, DELETE_OF_USER, {"tenant_id": TENANT, "user_id": FEW})
    assert read <= 10 * PAGE
