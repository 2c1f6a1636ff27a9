"""What a request reads does not grow with what its tenant holds, whatever the statistics say of it.

Counted in pages of the database that are looked at, those inside of functions included.
"""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.core.ids import new_id
from app.db.batches import BEGINNING
from app.db.pagination import PageRequest
from app.messages.expired_texts import EXPIRED, FIND_EXPIRED
from app.messages.listing import MessageFilter, listing
from app.messages.retention import BEGIN_BATCH, DUE
from app.messages.search import SEARCH, search_values
from app.messages.sweeper import ABANDONED, DELETE_EXPIRED
from app.models import MessageStatus
from app.services.audit_service import listing as audit_listing
from app.services.usage_service import ENDS, STATEMENTS, parts
from app.services.webhook_service import CLAIM, CLAIM_DUE
from tests.conftest import TEMPLATE, dsn, execute
from tests.db.plans import explained, shown

ROWS, PAGE = 20_000, 21
TENANT, USER, OTHER, TALK = (new_id() for _ in range(4))
# Half of the words are old; `apples` and `pears` never meet.
FILL = """
INSERT INTO tenants (id, name, message_retention_days) VALUES ('{tenant}', '{tenant}', 36500);
INSERT INTO users (id, tenant_id, email, hashed_password, role)
  SELECT id, '{tenant}', id || '@acme.com', 'x', 'admin' FROM unnest(ARRAY['{user}', '{other}']) AS id;
INSERT INTO conversations (id, tenant_id, user_id) VALUES ('{talk}', '{tenant}', '{user}');
INSERT INTO messages (id, tenant_id, user_id, conversation_id, content, status, model, created_at)
  SELECT gen_random_uuid()::text, '{tenant}', '{user}', CASE WHEN n % 2 = 0 THEN '{talk}' END,
    'common number ' || n || CASE WHEN n > {rows} / 2 THEN ' ancient' ELSE '' END
      || CASE WHEN n % 2 = 0 THEN ' apples' ELSE ' pears' END,
    'completed', 'm', now() - interval '2 days' - n * interval '1 minute' FROM generate_series(1, {rows}) AS n;
INSERT INTO audit_log (id, tenant_id, action, actor_type, actor_id, target_id, created_at)
  SELECT gen_random_uuid()::text, '{tenant}', 'user.created', 'user', '{user}', '{talk}',
    now() - n * interval '1 minute' FROM generate_series(1, {rows}) AS n;
INSERT INTO idempotency_keys (tenant_id, user_id, key, request_hash, resource_id, expires_at)
  SELECT '{tenant}', '{user}', n, 'x', 'x', now() - n * interval '1 minute' FROM generate_series(1, {rows}) AS n;
"""
LARGE = FILL.format(tenant=TENANT, user=USER, other=OTHER, talk=TALK, rows=ROWS)
SPARSE = "".join(
    FILL.format(tenant=tenant, user=new_id(), other=new_id(), talk=new_id(), rows=1)
    for tenant in (new_id() for _ in range(40))
)
STATISTICS = {
    "its own": (LARGE, "ANALYZE"),
    "none": (LARGE, "SELECT"),
    "of small tenants": (f"{SPARSE}; ANALYZE", LARGE),
}
READY = f"SELECT set_config('app.tenant_id', '{TENANT}', false), index_messages(1000), add_up_usage()"


def named(value: Any) -> str:
    """Of a case: the same in each process that collects the tests, so no ids stand in it."""
    if not isinstance(value, MessageFilter):
        return str(value)
    whose = {USER: "the user", OTHER: "another", TALK: "the talk"}
    given = {**value.parameters(), **({"q": value.q} if value.q else {})}
    return " ".join(f"{name}={whose.get(content, content)}" for name, content in given.items()) or "all"


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=STATISTICS)
async def grown(template_url: URL, request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    name = f"grown_{secrets.token_hex(4)}"
    await execute(template_url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    connection = await asyncpg.connect(dsn(template_url.set(database=name)))
    try:
        for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        for step in STATISTICS[request.param]:
            await connection.execute(step)
        await connection.execute(READY)
        yield connection
    finally:
        await connection.close()
    await execute(template_url.set(database="postgres"), f"DROP DATABASE {name}")


def pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "narrowed",
    [
        MessageFilter(),
        MessageFilter(user_id=USER),
        MessageFilter(user_id=OTHER),
        MessageFilter(conversation_id=TALK),
        MessageFilter(status=MessageStatus.FAILED),
        MessageFilter(status=MessageStatus.PENDING),
        MessageFilter(status=MessageStatus.CANCELLED, since=datetime(2020, 1, 1, tzinfo=UTC)),
    ],
    ids=named,
)
async def test_a_list_narrowed_by_one_thing_reads_about_its_page(
    grown: asyncpg.Connection, narrowed: MessageFilter, *, deep: bool
) -> None:
    assert narrowed.has_an_index(own_alone=False)
    values = {"tenant_id": TENANT, **narrowed.parameters(), "limit": PAGE, "skip": 0}
    values |= {"last_created_at": datetime.now(UTC), "last_id": new_id()}
    page = PageRequest(cursor="set by the test" if deep else None)
    plan = await explained(grown, TENANT, listing(narrowed.conditions()).all.page(page), values, generic=True)
    assert pages(plan) <= 150, shown(plan)


@pytest.mark.parametrize(
    ("narrowed", "most"),
    [
        (MessageFilter(q="common"), 500),
        (MessageFilter(q="common number 19876"), 500),
        (MessageFilter(q="ancient"), 500),
        (MessageFilter(q="absent"), 500),
        (MessageFilter(q="anc*"), 500),
        (MessageFilter(q="apples pears"), 800),
        (MessageFilter(q='"number common"'), 800),
        (MessageFilter(q="common -number"), 800),
        (MessageFilter(q="absent", user_id=USER), 800),
        (MessageFilter(q="absent", conversation_id=TALK), 800),
        (MessageFilter(q="common", status=MessageStatus.FAILED), 500),
        (MessageFilter(user_id=USER, status=MessageStatus.FAILED), 500),
        (MessageFilter(user_id=OTHER, status=MessageStatus.COMPLETED), 500),
        (MessageFilter(user_id=OTHER, conversation_id=TALK), 800),
        (MessageFilter(conversation_id=TALK, status=MessageStatus.FAILED), 800),
    ],
    ids=named,
)
async def test_a_walk_is_bounded(grown: asyncpg.Connection, narrowed: MessageFilter, most: int) -> None:
    assert not narrowed.has_an_index(own_alone=False)
    values = search_values(TENANT, narrowed, PageRequest())
    plan = await explained(grown, TENANT, SEARCH, values, generic=True)
    assert pages(plan) <= most, shown(plan)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"action": "user.deleted"},
        {"actor_id": OTHER},
        {"target_id": OTHER},
        {"actor_id": USER, "action": "user.deleted"},
    ],
    ids="+".join,
)
async def test_the_audit_log_reads_about_its_page(grown: asyncpg.Connection, filters: dict[str, str]) -> None:
    statement = audit_listing(frozenset(filters)).page(PageRequest())
    plan = await explained(
        grown, TENANT, statement, {"tenant_id": TENANT, **filters, "limit": PAGE, "skip": 0}, generic=True
    )
    assert pages(plan) <= 150, shown(plan)


@pytest.mark.parametrize("grouping", STATEMENTS)
async def test_usage_of_days_that_are_over_reads_their_sums(grown: asyncpg.Connection, grouping: Any) -> None:
    ends = await grown.fetchval(ENDS.text.replace(":tenant_id", "$1"), TENANT)
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC)
    plan = await explained(
        grown, TENANT, STATEMENTS[grouping], {"tenant_id": TENANT, **parts(since, until, ends)}, generic=True
    )
    assert pages(plan) <= 150, shown(plan)


@pytest.mark.parametrize(
    ("statement", "values", "most"),
    [
        (ABANDONED, {}, 150),
        (CLAIM_DUE, {"claim": CLAIM, "most": 4, "busy": []}, 150),
        (DELETE_EXPIRED, {}, 10_000),
        (DUE, {}, 300),  # a few for each tenant that does not keep messages for ever
        (EXPIRED, {"days": 1}, 300),
    ],
    ids=["abandoned", "due webhooks", "expired", "too old", "expired texts"],
)
async def test_work_without_a_caller_reads_what_is_due(
    grown: asyncpg.Connection, statement: Any, values: dict[str, Any], most: int
) -> None:
    await explained(grown, "", statement, values, generic=True)  # a session that plans at first reads the catalogue too
    plan = await explained(grown, "", statement, values, generic=True)
    assert pages(plan) <= most, shown(plan)


async def test_texts_that_expire_are_found_past_those_that_do_not(grown: asyncpg.Connection) -> None:
    """A tenant whose messages are all of `POST /messages`, and old."""
    values = {"tenant_id": TENANT, **BEGINNING, "days": 1, "rows": 1000}
    plan = await explained(grown, TENANT, FIND_EXPIRED, values, generic=True, first=BEGIN_BATCH)
    assert pages(plan) <= 20, shown(plan)
