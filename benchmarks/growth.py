"""What a request costs in a large database, as a multiple of the same in a small one, for the largest tenant of each.

GROWTH_MESSAGES sets the size of the large one (a fiftieth as many tenants, a tenth of the messages in one of them).
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote_plus

import asyncpg
from sqlalchemy import URL

from app.core.credentials.keys import KeyRing, shared_key
from app.core.principal import Principal
from app.core.security import TokenService
from app.db.provision import migrate
from app.db.session import Database
from app.messages.search_indexer import SearchIndexer
from benchmarks.client import load, percentile, request_bytes
from benchmarks.environment import SECRET_KEY, Server, dsn, serving

SMALL, LARGE = 10_000, int(os.environ.get("GROWTH_MESSAGES", "200000"))
ROUNDS, COUNT = 3, 50
GOAL_RATIO, GOAL_MS = 3, 50
PEOPLE = ("admin", "user", "user")

# Tenant 1 has every tenth message. Half of them, the older ones, hold `ancient`; `apples` and `pears` never meet.
SEED = """
INSERT INTO tenants (id, name) SELECT lpad(t::text, 8, '0') || '-0000-7000-8000-000000000000', 'Tenant ' || t
  FROM generate_series(1, {tenants}) t;
INSERT INTO users (id, email, hashed_password, role, tenant_id)
  SELECT lpad(t::text, 8, '0') || '-0000-7000-8000-00000000000' || u, u || '.' || t || '@acme.com', '',
         (ARRAY['admin', 'user', 'user'])[u], lpad(t::text, 8, '0') || '-0000-7000-8000-000000000000'
  FROM generate_series(1, {tenants}) t, generate_series(1, 3) u;
INSERT INTO users (id, email, hashed_password, role, tenant_id)
  SELECT 'a' || lpad(u::text, 7, '0') || '-0000-7000-8000-000000000009', 'more.' || u || '@acme.com', '', 'user',
         '00000001-0000-7000-8000-000000000000' FROM generate_series(1, {messages} / 100) u;
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
  SELECT regexp_replace(u.id, '.(.)$', '9\\1'), u.tenant_id, u.id, '', now() + interval '1 day' FROM users u;
INSERT INTO conversations (id, tenant_id, user_id, created_at)
  SELECT 'c' || lpad(c::text, 7, '0') || '-0000-7000-8000-000000000005', '00000001-0000-7000-8000-000000000000',
         '00000001-0000-7000-8000-000000000002', now() - c * interval '1 minute' FROM generate_series(1, {messages} / 100) c;
INSERT INTO messages (id, content, response, user_id, tenant_id, conversation_id, status, model, input_tokens,
                      output_tokens, cost_micro_usd, created_at)
  SELECT lpad(m::text, 8, '0') || '-0000-7000-8000-000000000004', 'What is async Python? number ' || m || ' ' || md5(m::text),
         repeat('An answer about files and sockets. ', 6) || CASE WHEN m % 3 = 0 THEN 'apples' ELSE 'pears' END
           || CASE WHEN m > {messages} / 2 THEN ' ancient' ELSE '' END,
         lpad(t::text, 8, '0') || '-0000-7000-8000-00000000000' || 2 + m / 10 % 2,
         lpad(t::text, 8, '0') || '-0000-7000-8000-000000000000',
         CASE WHEN t = 1 THEN 'c' || lpad((1 + m % ({messages} / 100))::text, 7, '0') || '-0000-7000-8000-000000000005' END,
         'completed', 'model-' || m % 4, 5, 50, 7, now() - interval '1 hour' - m * interval '20 seconds'
  FROM (SELECT m, CASE WHEN m % 10 = 0 THEN 1 ELSE 2 + m % ({tenants} - 1) END AS t
        FROM generate_series(1, {messages}) m) AS given;
INSERT INTO audit_log (id, tenant_id, action, actor_type, actor_id, target_id, created_at)
  SELECT 'd' || lpad(a::text, 7, '0') || '-0000-7000-8000-000000000006', '00000001-0000-7000-8000-000000000000',
         'conversation.deleted', 'user', '00000001-0000-7000-8000-000000000001',
         'c' || lpad(a::text, 7, '0') || '-0000-7000-8000-000000000005', now() - a * interval '1 minute'
  FROM generate_series(1, {messages} / 10) a;
"""
BODY = {"content": "What is async Python?"}
REQUESTS: dict[str, tuple[str, int, int]] = {
    # Path, tenant, person: the largest tenant's admin is (1, 1).
    "GET /me": ("/me", 1, 2),
    "GET /messages": ("/messages", 1, 2),
    "… skip=10000, or as deep as there is": ("/messages?skip={deep}", 1, 2),
    "… user_id": ("/messages?user_id=00000001-0000-7000-8000-000000000003", 1, 2),
    "… conversation_id": ("/messages?conversation_id=c0000005-0000-7000-8000-000000000005", 1, 2),
    "… status=failed (there is none)": ("/messages?status=failed", 1, 2),
    "… status=failed, user_id": ("/messages?status=failed&user_id=00000001-0000-7000-8000-000000000003", 1, 2),
    "… status=completed, user_id": ("/messages?status=completed&user_id=00000001-0000-7000-8000-000000000003", 1, 2),
    "… user_id of nobody": ("/messages?user_id=00000009-0000-7000-8000-000000000003", 1, 2),
    "search: a word in all": ("q=python", 1, 2),
    "search: a word in the older half": ("q=ancient", 1, 2),
    "search: a rare word": ("q=python number 1230", 1, 2),
    "search: a word in none": ("q=absentword", 1, 2),
    "search: beginning of a word": ("q=ab*", 1, 2),
    "search: words that never meet": ("q=apples pears", 1, 2),
    "search: a phrase in no order that is": ('q="python async"', 1, 2),
    "search: not": ("q=python -async", 1, 2),
    "search of an ordinary tenant": ("q=python", 7, 2),
    "search of an ordinary tenant: in none": ("q=absentword", 7, 2),
    "GET /conversations": ("/conversations", 1, 2),
    "GET /usage, by day": ("/usage?from=2020-01-01", 1, 1),
    "GET /usage, by user": ("/usage?from=2020-01-01&group_by=user", 1, 1),
    "GET /usage, by model": ("/usage?from=2020-01-01&group_by=model", 1, 1),
    "GET /tenants/{id}/users": ("/tenants/00000001-0000-7000-8000-000000000000/users", 1, 1),
    "GET /admin/audit-log": ("/admin/audit-log", 1, 1),
    "… action (there is none)": ("/admin/audit-log?action=user.deleted", 1, 1),
    "… actor_id (there is none)": ("/admin/audit-log?actor_id=00000001-0000-7000-8000-000000000003", 1, 1),
    "… target_id": ("/admin/audit-log?target_id=c0000007-0000-7000-8000-000000000005", 1, 1),
    "GET /api-keys": ("/api-keys", 1, 1),
    "GET /admin/invites": ("/admin/invites", 1, 1),
    "POST /messages": ("POST", 1, 2),
}


async def run(url: URL) -> None:
    print(f"the largest tenant of {LARGE:,} messages ({LARGE // 10:,} of them) / of {SMALL:,} ({SMALL // 10:,})")
    print(f"  {'':<40} {'small p50':>9} {'large p50':>9} {'ratio':>6} {'large p99':>9}")
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(_grown(url, messages)) for messages in (SMALL, LARGE)]
        short = 0
        for name, (path, tenant, person) in REQUESTS.items():
            measured: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for server, messages, times in zip(servers, (SMALL, LARGE), measured, strict=True):
                    some, failures = await load(
                        server.port, _request(path, tenant, person, messages), concurrency=1, count=COUNT
                    )
                    assert failures == 0, name
                    times.extend(some)
            small, large = map(sorted, measured)
            p50, grown, p99 = percentile(small, 0.5), percentile(large, 0.5), percentile(large, 0.99)
            missed = grown > GOAL_RATIO * p50 or p99 > GOAL_MS
            short += missed
            print(
                f"  {name:<40} {p50:9.1f} {grown:9.1f} {grown / p50:6.1f} {p99:9.1f}{'  short' if missed else ''}",
                flush=True,
            )
    print(f"  goals (ratio {GOAL_RATIO}, p99 {GOAL_MS} ms) missed: {short} of {len(REQUESTS)}")


def _request(path: str, tenant: int, person: int, messages: int) -> bytes:
    if path == "POST":
        return request_bytes("POST", "/messages", _token(tenant, person), BODY)
    if path.startswith("q="):
        path = f"/messages?q={quote_plus(path[2:])}"
    return request_bytes("GET", path.format(deep=min(10_000, messages // 10 - 20)), _token(tenant, person))


def _token(tenant: int, person: int) -> str:
    prefix = f"{tenant:08d}-0000-7000-8000-0000000000"
    principal = Principal(f"{prefix}0{person}", f"{prefix}00", PEOPLE[person - 1], 0, f"{prefix}9{person}")
    return TokenService(KeyRing(shared_key(SECRET_KEY, "HS256")), 60).mint(principal)


@asynccontextmanager
async def _grown(url: URL, messages: int) -> AsyncIterator[Server]:
    """A server on a database of its own, indexed as a process indexes it beside its work."""
    own = url.set(database=f"growth_{messages}")
    connection = await asyncpg.connect(dsn(url))
    await connection.execute(f"CREATE DATABASE growth_{messages}")
    await connection.close()
    await migrate(own)
    connection = await asyncpg.connect(dsn(own))
    await connection.execute(SEED.format(tenants=messages // 50, messages=messages), timeout=3600)
    await connection.execute("VACUUM ANALYZE", timeout=3600)
    await connection.close()
    database = Database(own, pool_size=1)
    await SearchIndexer(database).index("00000001-0000-7000-8000-000000000000")
    await database.close()
    async with serving("main:app", own) as server:
        yield server
