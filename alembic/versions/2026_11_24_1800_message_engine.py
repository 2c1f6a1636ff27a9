"""The message engine: conversations, partial text, cancelling, idempotency keys, budgets, webhooks, search.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import (
    grant_to_runtime,
    hand_to_definer,
    isolate,
    owner,
    owner_keys,
    quoted_schema,
    tenant_key,
    timestamps,
)

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

# Each with its type and default; None: it may be NULL.
MESSAGE_COLUMNS = {
    "conversation_id": (sa.String(36), None),
    "attempts": (sa.Integer(), "1"),
    "cancel_requested": (sa.Boolean(), "false"),
    "cached_tokens": (sa.Integer(), None),
    "cost_micro_usd": (sa.BigInteger(), None),
    "claim_micro_usd": (sa.BigInteger(), None),
    "claimed_at": (sa.DateTime(timezone=True), "now()"),
    "webhook_url": (sa.Text(), None),
    "webhook_due_at": (sa.DateTime(timezone=True), None),
    "webhook_attempts": (sa.Integer(), "0"),
}
NEW_TABLES = ("conversations", "message_deltas", "idempotency_keys", "budgets", "deleted_usage")

# One statement for all the streams of a process. SECURITY INVOKER, and each tenant is entered in turn: row-level
# security holds on every row it writes. It returns the messages that are to be stopped, those that are gone included.
# LATERAL with LIMIT: each look-up goes by key. A plan for tenants of average size would read all rows of a large one.
WRITE_DELTAS = """
CREATE FUNCTION write_deltas(batch jsonb, notices text[]) RETURNS SETOF text LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE entry jsonb;
BEGIN
  FOR entry IN SELECT jsonb_array_elements(batch) LOOP
    PERFORM set_config('app.tenant_id', entry->>'tenant_id', true);
    -- What was written by a commit that nobody confirmed is written again.
    INSERT INTO message_deltas (tenant_id, message_id, attempt, start, text)
      SELECT m.tenant_id, m.id, d.attempt, d.start, d.text
      FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int, start int, text text)
      CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m
      WHERE m.status = 'pending' AND m.attempts = d.attempt AND d.text <> ''
      ON CONFLICT ON CONSTRAINT pk_message_deltas DO UPDATE SET text = excluded.text;
    RETURN QUERY
      SELECT d.id FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int)
      LEFT JOIN LATERAL (
        SELECT * FROM messages WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m ON true
      WHERE m.id IS NULL OR m.cancel_requested OR m.status <> 'pending' OR m.attempts <> d.attempt;
  END LOOP;
  PERFORM set_config('app.tenant_id', '', true);
  PERFORM pg_notify('llm_saas_messages', notice) FROM unnest(notices) AS notice;
END $$
"""

# Runs at COMMIT (the triggers are deferred), so a budget's row is locked for the commit alone and not while a client
# gets round to committing. The rows are locked in one order: two messages never wait for each other. The shared lock
# keeps a budget from being made between the look and the commit. SECURITY DEFINER: a message may also go by a cascade,
# which runs as the owner; the tenant is the row's, which its policy has checked.
ACCOUNT = """
CREATE FUNCTION account_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  message record := COALESCE(NEW, OLD);
  month date := date_trunc('month', message.claimed_at AT TIME ZONE 'UTC');
  claims boolean := TG_OP <> 'DELETE' AND message.status = 'pending';
  claim bigint := COALESCE(message.claim_micro_usd, 0);
  cost bigint := 0;
  budget record;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended(message.tenant_id, 0));
  IF TG_OP = 'UPDATE' THEN
    cost := COALESCE(NEW.cost_micro_usd, 0) - COALESCE(OLD.cost_micro_usd, 0);
  END IF;
  FOR budget IN
    SELECT b.* FROM {schema}.budgets b
    WHERE b.tenant_id = message.tenant_id AND (b.user_id IS NULL OR b.user_id = message.user_id)
    ORDER BY b.user_id NULLS FIRST FOR UPDATE
  LOOP
    IF claims THEN
      IF budget.period < month THEN
        budget.spent_micro_usd := 0;
        budget.reserved_micro_usd := 0;
      END IF;
      -- A moment of an earlier month that commits in this one is counted in neither.
      CONTINUE WHEN budget.period > month;
      IF message.claim_micro_usd IS NULL AND budget.limit_micro_usd IS NOT NULL THEN
        RAISE EXCEPTION 'the model has no price' USING ERRCODE = 'LS004';
      ELSIF budget.spent_micro_usd + budget.reserved_micro_usd + claim > budget.limit_micro_usd THEN
        RAISE EXCEPTION 'the budget does not cover the message' USING ERRCODE = 'LS003';
      END IF;
      UPDATE {schema}.budgets b
        SET period = month, spent_micro_usd = budget.spent_micro_usd,
          reserved_micro_usd = budget.reserved_micro_usd + claim
        WHERE b.id = budget.id;
    ELSIF budget.period = month THEN
      UPDATE {schema}.budgets b
        SET spent_micro_usd = budget.spent_micro_usd + cost, reserved_micro_usd = budget.reserved_micro_usd - claim
        WHERE b.id = budget.id;
    END IF;
  END LOOP;
  IF TG_OP = 'DELETE' THEN
    -- A message goes while it is pending only with its user, whose text does not stay behind.
    DELETE FROM {schema}.message_deltas d WHERE d.tenant_id = OLD.tenant_id AND d.message_id = OLD.id;
  END IF;
  RETURN NULL;
END $$
"""

TRIGGERS = (
    """CREATE CONSTRAINT TRIGGER message_claims AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.status = 'pending') EXECUTE FUNCTION account_message()""",
    """CREATE CONSTRAINT TRIGGER message_begins_or_ends AFTER UPDATE ON messages DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN ((OLD.status = 'pending') <> (NEW.status = 'pending')) EXECUTE FUNCTION account_message()""",
    """CREATE CONSTRAINT TRIGGER message_goes AFTER DELETE ON messages DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (OLD.status = 'pending') EXECUTE FUNCTION account_message()""",
)

# Work without a caller is found across tenants: by narrow functions that return ids, never text. What is then done
# to a row is done inside its tenant.
ABANDONED = """
CREATE FUNCTION abandoned_messages() RETURNS TABLE (tenant_id text, id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT m.tenant_id, m.id FROM {schema}.messages m
  WHERE m.status = 'pending' AND m.lease_expires_at < now() ORDER BY m.lease_expires_at LIMIT 1000
$$
"""

# Claims them for a while, so that no other process delivers the same; none of the tenants that have enough under way.
DUE_WEBHOOKS = """
CREATE FUNCTION claim_due_webhooks(claim interval, most integer, busy text[]) RETURNS TABLE (tenant_id text, id text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  UPDATE {schema}.messages m SET webhook_due_at = now() + $1
  FROM (SELECT w.id FROM {schema}.messages w WHERE w.webhook_due_at <= now() AND w.tenant_id <> ALL ($3)
        ORDER BY w.webhook_due_at LIMIT $2 FOR UPDATE SKIP LOCKED) due
  WHERE m.id = due.id RETURNING m.tenant_id, m.id
$$
"""

EXPIRED_KEYS = """
CREATE FUNCTION delete_expired_idempotency_keys() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH gone AS (DELETE FROM {schema}.idempotency_keys k WHERE k.expires_at < now() RETURNING 1)
  SELECT count(*) FROM gone
$$
"""

# `@@` is not leakproof, so under row-level security the index would not serve it. The tenant is the transaction's.
SEARCH = """
CREATE FUNCTION search_messages(query text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT m.id::text FROM {schema}.messages m
  WHERE m.tenant_id = {schema}.app_tenant() AND m.status <> 'pending'
    AND to_tsvector('simple', left(m.content, 60000) || ' ' || left(m.response, 60000))
        @@ websearch_to_tsquery('simple', $1)
$$
"""

DEFINER_FUNCTIONS = (
    "account_message()",
    "abandoned_messages()",
    "claim_due_webhooks(interval, integer, text[])",
    "delete_expired_idempotency_keys()",
    "search_messages(text)",
)

GRANTS = """
GRANT UPDATE (attempts, cancel_requested, cached_tokens, cost_micro_usd, claim_micro_usd, claimed_at,
              webhook_due_at, webhook_attempts) ON messages TO llm_saas_app;
GRANT SELECT, INSERT, DELETE ON conversations TO llm_saas_app;
GRANT UPDATE (title, system_prompt, updated_at) ON conversations TO llm_saas_app;
GRANT SELECT, INSERT, UPDATE (text), DELETE ON message_deltas TO llm_saas_app;
GRANT SELECT (tenant_id, message_id), DELETE ON message_deltas TO llm_saas_definer;
GRANT SELECT, INSERT ON idempotency_keys TO llm_saas_app;
GRANT UPDATE (request_hash, resource_id, expires_at) ON idempotency_keys TO llm_saas_app;
GRANT SELECT, INSERT ON budgets TO llm_saas_app;
GRANT UPDATE (limit_micro_usd, updated_at) ON budgets TO llm_saas_app;
GRANT SELECT ON budgets TO llm_saas_definer;
GRANT UPDATE (period, spent_micro_usd, reserved_micro_usd) ON budgets TO llm_saas_definer;
GRANT SELECT, INSERT ON deleted_usage TO llm_saas_app;
REVOKE UPDATE (status, error_code, lease_expires_at, updated_at) ON messages FROM llm_saas_definer;
GRANT SELECT (tenant_id, content, response, webhook_due_at) ON messages TO llm_saas_definer;
GRANT UPDATE (webhook_due_at) ON messages TO llm_saas_definer;
GRANT SELECT (expires_at), DELETE ON idempotency_keys TO llm_saas_definer;
GRANT EXECUTE ON FUNCTION app_tenant() TO llm_saas_definer
"""

OLD_SWEEP = """
CREATE FUNCTION sweep_abandoned_messages() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH swept AS (
    UPDATE {schema}.messages m
    SET status = 'failed', error_code = 'interrupted', lease_expires_at = NULL, updated_at = now()
    WHERE m.status = 'pending' AND m.lease_expires_at < now() RETURNING 1
  )
  SELECT count(*) FROM swept
$$
"""

DEFINER_POLICIES = (
    "CREATE POLICY definer_read ON messages FOR SELECT TO llm_saas_definer USING (true)",
    """CREATE POLICY claim_webhook ON messages FOR UPDATE TO llm_saas_definer
       USING (webhook_due_at IS NOT NULL) WITH CHECK (webhook_due_at IS NOT NULL)""",
    "CREATE POLICY forget ON message_deltas TO llm_saas_definer USING (true)",
    "CREATE POLICY account ON budgets TO llm_saas_definer USING (true) WITH CHECK (true)",
    "CREATE POLICY read_expired ON idempotency_keys FOR SELECT TO llm_saas_definer USING (expires_at < now())",
    "CREATE POLICY delete_expired ON idempotency_keys FOR DELETE TO llm_saas_definer USING (expires_at < now())",
)


def upgrade() -> None:
    schema = quoted_schema()
    create_tables()
    extend_messages()
    for table in NEW_TABLES:
        isolate(table)
    op.execute("DROP POLICY sweep_read ON messages")
    op.execute("DROP POLICY sweep_write ON messages")
    for policy in DEFINER_POLICIES:
        op.execute(policy)
    for grant in GRANTS.split(";"):
        op.execute(grant)
    create_functions(schema)


def create_tables() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(),
        sa.Column("title", sa.String(255)),
        sa.Column("system_prompt", sa.Text()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_conversations_tenant_id_id"),
        *owner_keys("conversations"),
    )
    op.create_index(
        "ix_conversations_tenant_id_created_at_id",
        "conversations",
        ["tenant_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    # No key to messages: its check would cost more than the row. What ends a message deletes its deltas.
    op.create_table(
        "message_deltas",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "message_id", "attempt", "start", name="pk_message_deltas"),
        tenant_key("message_deltas"),
    )
    op.create_table(
        "idempotency_keys",
        *owner(),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("resource_id", sa.String(36), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "key", name="pk_idempotency_keys"),
        *owner_keys("idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    op.create_table(
        "budgets",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(user_optional=True),
        sa.Column("limit_micro_usd", sa.BigInteger()),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("spent_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micro_usd", sa.BigInteger(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
        sa.UniqueConstraint(
            "tenant_id", "user_id", name="uq_budgets_tenant_id_user_id", postgresql_nulls_not_distinct=True
        ),
        *owner_keys("budgets"),
    )
    # No key to users: what was used stays used when they go.
    op.create_table(
        "deleted_usage",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(),
        sa.Column("model", sa.String(255)),
        *(sa.Column(name, sa.Integer()) for name in ("input_tokens", "cached_tokens", "output_tokens")),
        sa.Column("cost_micro_usd", sa.BigInteger()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_usage"),
        tenant_key("deleted_usage"),
    )
    op.create_index("ix_deleted_usage_tenant_id_created_at", "deleted_usage", ["tenant_id", "created_at"])


def extend_messages() -> None:
    for name, (kind, default) in MESSAGE_COLUMNS.items():
        server_default = sa.text(default) if default else None
        op.add_column("messages", sa.Column(name, kind, server_default=server_default, nullable=default is None))
    op.create_foreign_key(
        "fk_messages_tenant_id_conversation_id",
        "messages",
        "conversations",
        ["tenant_id", "conversation_id"],
        ["tenant_id", "id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_messages_tenant_id_conversation_id_created_at_id",
        "messages",
        ["tenant_id", "conversation_id", sa.text("created_at DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("conversation_id IS NOT NULL"),
    )
    op.create_index(
        "uq_messages_pending_conversation",
        "messages",
        ["tenant_id", "conversation_id"],
        unique=True,
        postgresql_where=sa.text("conversation_id IS NOT NULL AND status = 'pending'"),
    )
    op.create_index(
        "ix_messages_webhook_due_at",
        "messages",
        ["webhook_due_at"],
        postgresql_where=sa.text("webhook_due_at IS NOT NULL"),
    )
    # Only what has ended is indexed: a message is entered once, with its answer. The bounds keep it below the megabyte
    # that a tsvector may hold: at most eight bytes a character, where parts of words are entered besides the words.
    op.execute(
        "CREATE INDEX ix_messages_search ON messages USING gin (to_tsvector('simple',"
        " left(content, 60000) || ' ' || left(response, 60000))) WHERE status <> 'pending'"
    )


def create_functions(schema: str) -> None:
    op.execute(WRITE_DELTAS)
    grant_to_runtime(["write_deltas(jsonb, text[])"])
    op.execute("DROP FUNCTION sweep_abandoned_messages()")
    for function in (ACCOUNT, ABANDONED, DUE_WEBHOOKS, EXPIRED_KEYS, SEARCH):
        op.execute(function.format(schema=schema))
    for trigger in TRIGGERS:
        op.execute(trigger)
    hand_to_definer(schema, DEFINER_FUNCTIONS)


def downgrade() -> None:
    """Drop what this revision made, with the data in it."""
    schema = quoted_schema()
    for trigger in ("message_claims", "message_begins_or_ends", "message_goes"):
        op.execute(f"DROP TRIGGER {trigger} ON messages")
    for name in (*DEFINER_FUNCTIONS, "write_deltas(jsonb, text[])"):
        op.execute(f"DROP FUNCTION {name}")
    for policy in ("definer_read", "claim_webhook"):
        op.execute(f"DROP POLICY {policy} ON messages")
    op.drop_index("ix_messages_search", "messages")
    for column in MESSAGE_COLUMNS:
        op.drop_column("messages", column)
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.execute("GRANT UPDATE (status, error_code, lease_expires_at, updated_at) ON messages TO llm_saas_definer")
    op.execute(
        "CREATE POLICY sweep_read ON messages FOR SELECT TO llm_saas_definer USING (status IN ('pending', 'failed'))"
    )
    op.execute(
        "CREATE POLICY sweep_write ON messages FOR UPDATE TO llm_saas_definer"
        " USING (status = 'pending') WITH CHECK (status = 'failed')"
    )
    op.execute(OLD_SWEEP.format(schema=schema))
    hand_to_definer(schema, ("sweep_abandoned_messages()",))
