"""Lists in a large tenant read few rows, whoever acts: planned for the caller, and for anybody."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.ids import new_id
from app.db.pagination import PageRequest
from app.messages.listing import listing
from app.services.conversation_service import LISTED
from tests.conftest import TEMPLATE, dsn, execute
from tests.db.plans import explained, rows_read, shown

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


def pages(skip: int) -> tuple[PageRequest, PageRequest]:
    """By offset, and by a cursor in the middle of the tenant."""
    return PageRequest(skip=skip, limit=PAGE), PageRequest(limit=PAGE, cursor="set by the test")


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("own", [False, True], ids=["all", "own"])
@pytest.mark.parametrize("kind", LISTS)
async def test_a_page_reads_about_as_many_rows_as_it_shows(
    large: asyncpg.Connection, kind: str, *, own: bool, generic: bool
) -> None:
    listed = LISTS[kind].own if own else LISTS[kind].all
    middle = await large.fetchval(f"SELECT now() - interval '{ROWS // 2} seconds'")
    for viewer in (FEW, MANY):
        values = {"tenant_id": TENANT, "viewer_id": viewer, "user_id": FEW, "limit": PAGE + 1}
        values |= {"last_created_at": middle, "last_id": new_id()}
        for page in (*pages(0), *pages(3 * PAGE)):
            plan = await explained(
                large, TENANT, listed.page(page), {**values, "skip": page.skip}, generic=generic,
                viewer=viewer if own else "*",
            )  # fmt: skip
            narrowed = kind == "messages of a user" or (own and viewer == FEW)
            expected = PAGE + 1
            if kind == "messages of a user" and own and viewer == MANY:
                expected = 0
            elif narrowed:
                expected = 2 if page.cursor else 0 if page.skip else 5
            assert (viewer, plan["Actual Rows"]) == (viewer, expected)
            assert rows_read(plan) <= page.skip + 3 * (PAGE + 1), (viewer, shown(plan))
