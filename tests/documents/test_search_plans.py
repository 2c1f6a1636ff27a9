"""What a search reads, whatever the planner believes: statistics are of the time before the tenant had documents."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.ids import new_id
from app.documents.large import EACH
from app.documents.search import SEARCH
from tests.conftest import dsn
from tests.db.plans import explained, shown, work
from tests.own_database import own_database

TENANT, USER = new_id(), new_id()
DOCUMENTS, CHUNKS = 100, 3000
SEED = f"""
ANALYZE documents; ANALYZE document_chunks; ANALYZE chunk_vectors; ANALYZE chunk_terms;
INSERT INTO tenants (id, name) VALUES ('{TENANT}', 'Large');
INSERT INTO users (id, tenant_id, email, hashed_password, role)
  VALUES ('{USER}', '{TENANT}', 'large@acme.com', 'x', 'admin');
INSERT INTO documents (id, tenant_id, user_id, name, media_type, content_hash, bytes, status, chunks, current)
  SELECT lpad(d::text, 36, '0'), '{TENANT}', '{USER}', d, 'text/plain', '', 0, 'ready', {CHUNKS // DOCUMENTS}, true
  FROM generate_series(0, {DOCUMENTS - 1}) AS d;
INSERT INTO document_chunks (id, tenant_id, document_id, n, start, "end", tokens, text)
  SELECT lpad(c::text, 36, '0'), '{TENANT}', lpad((c % {DOCUMENTS})::text, 36, '0'), c, 0, 1, 1, 'x'
  FROM generate_series(0, {CHUNKS - 1}) AS c;
INSERT INTO chunk_vectors (tenant_id, model, chunk_id, document_id, embedding)
  SELECT tenant_id, 'm', id, document_id, format('[%s,%s]', cos(n), sin(n))::halfvec FROM document_chunks;
INSERT INTO chunk_terms (tenant_id, chunk_id, document_id, terms)
  SELECT tenant_id, id, document_id, format('{{%s:1,1000:0.5}}/1048576', 1 + n % 500)::sparsevec FROM document_chunks
"""
VALUES = {
    "tenant_id": TENANT, "viewer_id": USER, "sees_private": True, "vector": "[1,0]", "model": "m",
    "terms": "{7:1,8:2}/1048576", "weight": 0.2, "collection": None, "ids": None, "attributes": None, "most": 10,
    "floor": 0.0,
}  # fmt: skip
# The value of a parameter, read as a vector.
READ = re.compile(r"\$\d+[\w():\" ]*::(?:\w+\.)?(?:halfvec|sparsevec)")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def grown(template_url: URL) -> AsyncIterator[asyncpg.Connection]:
    async with own_database(template_url) as own:
        connection = await asyncpg.connect(dsn(own.url))
        await connection.execute(SEED)
        yield connection
        await connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("statement", [SEARCH, EACH], ids=["all", "document by document"])
async def test_each_chunk_is_compared_with_the_question_and_with_no_other(
    grown: asyncpg.Connection, statement: Any, *, generic: bool
) -> None:
    plan = await explained(grown, TENANT, statement, VALUES, generic=generic)
    assert plan["Actual Rows"] == 10
    assert 2 * CHUNKS <= work(plan) <= 30 * CHUNKS, shown(plan)


@pytest.mark.parametrize("statement", [SEARCH, EACH], ids=["all", "document by document"])
async def test_the_question_is_read_once_and_not_for_each_chunk(grown: asyncpg.Connection, statement: Any) -> None:
    plan = await explained(grown, TENANT, statement, VALUES, generic=True, verbose=True)
    reading = [
        node["Actual Loops"] * node["Actual Rows"] for node in nodes(plan) if READ.search(str(node.get("Output")))
    ]
    assert reading == [1, 1], shown(plan)
