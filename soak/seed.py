"""Tenants whose every id, name and text carries an unmistakable mark.

An id is `5eed5eed-<tenant>-7<kind>-8000-<number>`: a leak is found by counting marks in an answer, whatever it holds.
"""

import asyncpg
from sqlalchemy import URL

from app.core.principal import Principal, Role
from app.core.security import PasswordHasher

PASSWORD = "correct horse battery"
MARK = b"5eed5eed-"
MESSAGES, CONVERSATIONS = 20, 4
BUDGET = 7_000_000_000_000
"""Each tenant's limit is this and its number: figures carry no mark."""

# What the operations of app/verification/operations.py point at -> the code in its ids. A new kind needs rows in SEED too.
KINDS = {
    "tenant": 0,
    "admin": 1,
    "user": 2,
    "message": 3,
    "running_message": 3,
    "conversation": 4,
    "failed_message": 5,
    "session": 6,
    "api_key": 7,
    "invite": 8,
    "document": 11,
    "read_document": 11,
    "response": 12,
    "running_response": 12,
    "conversation_of_responses": 4,
    "conversation_item": 4,
    "added_item": 4,
    "key_of_admin": 13,
    "chat_completion": 20,
}
# The ids of things that have another name elsewhere; of one that is within another, both.
FORMS = {
    "response": "resp_{}",
    "running_response": "resp_{}",
    "conversation_of_responses": "conv_{}",
    "conversation_item": "conv_{}/msg_{}_i0",
    "added_item": "conv_{}/msg_{}_i0",
    "chat_completion": "chatcmpl-{}",
}

NUMBERS = {"message": MESSAGES, "running_message": MESSAGES, "conversation": CONVERSATIONS}
"""How many of a kind a tenant has, where it is more than one."""

SEED = """
CREATE TEMP TABLE t AS
  SELECT n, '5eed5eed-' || lpad(to_hex(n), 4, '0') || '-' AS mark FROM generate_series(1, {tenants}) n;
CREATE FUNCTION pg_temp.ident(mark text, kind int, n int) RETURNS text LANGUAGE sql
  AS $$ SELECT mark || '7' || lpad(to_hex(kind), 3, '0') || '-8000-' || lpad(n::text, 12, '0') $$;
INSERT INTO tenants (id, name) SELECT pg_temp.ident(mark, 0, 0), mark || ' tenant' FROM t;
INSERT INTO users (id, email, hashed_password, role, tenant_id)
  SELECT pg_temp.ident(mark, k, 0), mark || r || '@acme.com', '{hashed}', r, pg_temp.ident(mark, 0, 0)
  FROM t, (VALUES (1, 'admin'), (2, 'user')) AS roles (k, r);
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
  SELECT pg_temp.ident(mark, 6, k), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, k, 0), '', now() + interval '1 day'
  FROM t, generate_series(1, 2) k;
INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, key_hash, scopes)
  SELECT pg_temp.ident(mark, 7, 0), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 2, 0), mark || ' key', 'llms_', mark,
         ARRAY['messages:read'] FROM t;
INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, key_hash, scopes)
  SELECT pg_temp.ident(mark, 13, 0), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 1, 0), mark || ' key', 'llms_',
         mark || 'admin', ARRAY['messages:read'] FROM t;
INSERT INTO invites (id, tenant_id, user_id, email, token_hash, expires_at)
  SELECT pg_temp.ident(mark, 8, 0), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 1, 0), mark || 'guest@acme.com', mark,
         now() + interval '1 day' FROM t;
INSERT INTO audit_log (id, tenant_id, action, actor_type, actor_id, target_id, details)
  SELECT pg_temp.ident(mark, 10, 0), pg_temp.ident(mark, 0, 0), 'user.created', 'user', pg_temp.ident(mark, 1, 0),
         pg_temp.ident(mark, 2, 0), jsonb_build_object('note', mark) FROM t;
INSERT INTO conversations (id, tenant_id, user_id, title, system_prompt)
  SELECT pg_temp.ident(mark, 4, c), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 2, 0), mark || ' title', mark || ' prompt'
  FROM t, generate_series(0, {conversations} - 1) c;
INSERT INTO messages (id, content, response, user_id, tenant_id, conversation_id, status, model, input_tokens,
                      output_tokens, cost_micro_usd, created_at)
  SELECT pg_temp.ident(mark, 3, m), mark || ' question', mark || ' answer', pg_temp.ident(mark, 2, 0),
         pg_temp.ident(mark, 0, 0), CASE WHEN m % 2 = 0 THEN pg_temp.ident(mark, 4, m % {conversations}) END,
         'completed', 'mock-echo', 5, 50, 105, now() - m * interval '1 minute'
  FROM t, generate_series(0, {messages} - 1) m;
INSERT INTO messages (id, content, response, user_id, tenant_id, status, error_code)
  SELECT pg_temp.ident(mark, 5, 0), mark || ' question', mark, pg_temp.ident(mark, 2, 0), pg_temp.ident(mark, 0, 0),
         'failed', 'provider_error'
  FROM t;
INSERT INTO messages (id, content, response, user_id, tenant_id, status, api, model)
  SELECT pg_temp.ident(mark, 12, 0), mark || ' question', mark || ' answer', pg_temp.ident(mark, 2, 0),
         pg_temp.ident(mark, 0, 0), 'completed', 'responses', 'mock-echo'
  FROM t;
INSERT INTO messages (id, content, response, user_id, tenant_id, status, api, metadata)
  SELECT pg_temp.ident(mark, 20, 0), mark || ' question', mark || ' answer', pg_temp.ident(mark, 2, 0),
         pg_temp.ident(mark, 0, 0), 'completed', 'chat', jsonb_build_object('note', mark)
  FROM t;
INSERT INTO documents (id, tenant_id, user_id, name, collection, media_type, content_hash, bytes, status, progress, current)
  SELECT pg_temp.ident(mark, 11, 0), pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 2, 0), mark || ' document',
         mark || ' shelf', 'text/plain', mark, 20, 'ready', 100, true FROM t;
INSERT INTO document_contents (tenant_id, document_id, text)
  SELECT pg_temp.ident(mark, 0, 0), pg_temp.ident(mark, 11, 0), mark || ' text' FROM t;
INSERT INTO budgets (id, tenant_id, user_id, limit_micro_usd, period, spent_micro_usd, reserved_micro_usd)
  SELECT pg_temp.ident(mark, 9, 0), pg_temp.ident(mark, 0, 0), NULL, {budget} + n,
         date_trunc('month', now() AT TIME ZONE 'UTC')::date, 0, 0
  FROM t;
"""


def email(tenant: int, role: Role) -> str:
    return f"5eed5eed-{tenant:04x}-{role}@acme.com"


def mark(tenant: int) -> bytes:
    return b"5eed5eed-%04x-" % tenant


def identifier(kind: str, tenant: int, number: int = 0) -> str:
    row = f"5eed5eed-{tenant:04x}-7{KINDS[kind]:03x}-8000-{number:012d}"
    # The first conversation has the first message.
    within = kind in ("conversation_item", "added_item")
    return FORMS.get(kind, "{}").format(row, identifier("message", tenant) if within else "")


def principal(tenant: int, role: Role = "user") -> Principal:
    """As whom the tenant's user or admin is logged in, in the session that the seed made."""
    session = identifier("session", tenant, KINDS[role])
    return Principal(identifier(role, tenant), identifier("tenant", tenant), role, 0, session)


async def seed(url: URL, tenants: int) -> None:
    hashed = await PasswordHasher(4).hash(PASSWORD)
    connection = await asyncpg.connect(dsn(url))
    # A connection is opened for nearly every transaction that is cut off: 4096 rounds of hashing would be most of it.
    await connection.execute(f"SET scram_iterations = 1; ALTER ROLE {url.username} PASSWORD '{url.password}'")
    counts = {"messages": MESSAGES, "conversations": CONVERSATIONS, "budget": BUDGET}
    await connection.execute(SEED.format(tenants=tenants, hashed=hashed, **counts), timeout=300)
    await connection.execute("VACUUM ANALYZE", timeout=300)
    await connection.close()


def dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
