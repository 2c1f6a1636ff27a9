"""Budgets of API keys, and of days and weeks.

Revision ID: 0036
Revises: 0035
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import isolate, owner, owner_keys, quoted_schema, timestamps, wait_for_what_runs

revision: str = "0036"
down_revision: str | None = "0035"
branch_labels = None
depends_on = None

# Which budgets hold: the tenant's, the user's, and those of the line of keys. In one order for all, after the rows of
# `budgets`: two commits never wait for each other. `begins`: it may be the first of its period. Callers are functions
# of the definer role alone.
CHARGE_PERIODS = """
CREATE FUNCTION charge_period_budgets(of_tenant text, of_user text, of_line text, at timestamptz, begins boolean,
                                      bounded boolean, need bigint, spend bigint, reserve bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
AS $$
DECLARE
  budget record;
  beginning date;
BEGIN
  FOR budget IN
    SELECT b.* FROM {schema}.period_budgets b
    WHERE b.tenant_id = of_tenant AND b.holder = ANY (ARRAY['', of_user, COALESCE(of_line, '')])
    ORDER BY b.holder, b.period_unit FOR UPDATE
  LOOP
    beginning := date_trunc(budget.period_unit, at AT TIME ZONE 'UTC');
    IF budget.period < beginning THEN
      budget.spent_micro_usd := 0;
      budget.reserved_micro_usd := 0;
    END IF;
    -- A moment of an earlier period that commits in this one is counted in neither.
    CONTINUE WHEN budget.period > beginning OR (budget.period < beginning AND NOT begins);
    IF bounded AND need IS NULL AND budget.limit_micro_usd IS NOT NULL THEN
      RAISE EXCEPTION 'the model has no price' USING ERRCODE = 'LS004';
    ELSIF bounded AND budget.spent_micro_usd + budget.reserved_micro_usd + need > budget.limit_micro_usd THEN
      RAISE EXCEPTION 'the budget does not cover it' USING ERRCODE = 'LS003', DETAIL = CASE
        WHEN budget.holder = '' THEN 'tenant ' WHEN budget.holder = of_line THEN 'key ' ELSE 'user ' END
        || budget.period_unit;
    END IF;
    UPDATE {schema}.period_budgets b
      SET period = beginning, spent_micro_usd = GREATEST(budget.spent_micro_usd + COALESCE(spend, 0), 0),
        reserved_micro_usd = budget.reserved_micro_usd + COALESCE(reserve, 0)
      WHERE b.tenant_id = of_tenant AND b.holder = budget.holder AND b.period_unit = budget.period_unit;
  END LOOP;
END $$
"""
CHARGE_PERIODS_NAME = "charge_period_budgets(text, text, text, timestamptz, boolean, boolean, bigint, bigint, bigint)"

# As before (see the operator's ceiling), but for the other periods, the keys, and the name of the budget that refuses.
ACCOUNT = """
CREATE OR REPLACE FUNCTION account_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  message record := COALESCE(NEW, OLD);
  month date := date_trunc('month', message.claimed_at AT TIME ZONE 'UTC');
  claims boolean := TG_OP <> 'DELETE' AND message.status = 'pending';
  claim bigint := COALESCE(message.claim_micro_usd, 0);
  cost bigint := 0;
  budget record;
  most bigint;
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
      most := LEAST(budget.limit_micro_usd, CASE WHEN budget.user_id IS NULL THEN COALESCE(
        budget.ceiling_micro_usd, NULLIF(current_setting('app.tenant_ceiling', true), '')::bigint) END);
      IF message.claim_micro_usd IS NULL AND most IS NOT NULL THEN
        RAISE EXCEPTION 'the model has no price' USING ERRCODE = 'LS004';
      ELSIF budget.spent_micro_usd + budget.reserved_micro_usd + claim > most THEN
        RAISE EXCEPTION 'the budget does not cover the message' USING ERRCODE = 'LS003'{told};
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
  END LOOP;{periods}
  IF TG_OP = 'DELETE' THEN
    -- A message goes while it is pending only with its user, whose text does not stay behind.
    DELETE FROM {schema}.message_deltas d WHERE d.tenant_id = OLD.tenant_id AND d.message_id = OLD.id;
  END IF;
  RETURN NULL;
END $$
"""
OF_MESSAGES = """
  IF claims THEN
    PERFORM {schema}.charge_period_budgets(message.tenant_id, message.user_id, message.api_key_line, message.claimed_at,
      true, true, message.claim_micro_usd, 0, claim);
  ELSE
    PERFORM {schema}.charge_period_budgets(message.tenant_id, message.user_id, message.api_key_line, message.claimed_at,
      false, false, 0, cost, -claim);
  END IF;"""

CHARGE_EMBEDDING = """
CREATE OR REPLACE FUNCTION charge_embedding(of_user text, of_model text, at timestamptz, tokens bigint, cost bigint,
                                            ahead bigint, bounded boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  tenant text := {schema}.app_tenant();
  month date := date_trunc('month', at AT TIME ZONE 'UTC');
  budget record;
  most bigint;
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION 'of no tenant' USING ERRCODE = 'LS002';
  END IF;
  IF bounded OR cost <> 0 THEN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(tenant, 0));
    FOR budget IN
      SELECT b.* FROM {schema}.budgets b
      WHERE b.tenant_id = tenant AND (b.user_id IS NULL OR b.user_id = of_user)
      ORDER BY b.user_id NULLS FIRST FOR UPDATE
    LOOP
      IF budget.period < month THEN
        budget.spent_micro_usd := 0;
        budget.reserved_micro_usd := 0;
      END IF;
      -- A moment of an earlier month that commits in this one is counted in neither.
      CONTINUE WHEN budget.period > month;
      most := LEAST(budget.limit_micro_usd, CASE WHEN budget.user_id IS NULL THEN COALESCE(
        budget.ceiling_micro_usd, NULLIF(current_setting('app.tenant_ceiling', true), '')::bigint) END);
      IF bounded AND cost IS NULL AND most IS NOT NULL THEN
        RAISE EXCEPTION 'the model has no price' USING ERRCODE = 'LS004';
      ELSIF bounded AND budget.spent_micro_usd + budget.reserved_micro_usd + GREATEST(cost, ahead) > most THEN
        RAISE EXCEPTION 'the budget does not cover the texts' USING ERRCODE = 'LS003'{told};
      END IF;
      UPDATE {schema}.budgets b
        SET period = month, spent_micro_usd = GREATEST(budget.spent_micro_usd + COALESCE(cost, 0), 0),
          reserved_micro_usd = budget.reserved_micro_usd
        WHERE b.id = budget.id;
    END LOOP;{periods}
  END IF;
  IF tokens <> 0 OR cost <> 0 THEN
    INSERT INTO {schema}.embedding_hours AS h (tenant_id, hour, user_id, model, tokens, cost_micro_usd)
      VALUES (tenant, date_trunc('hour', at, 'UTC'), of_user, of_model, tokens, COALESCE(cost, 0))
      ON CONFLICT ON CONSTRAINT pk_embedding_hours DO UPDATE SET tokens = h.tokens + excluded.tokens,
        cost_micro_usd = h.cost_micro_usd + excluded.cost_micro_usd;
  END IF;
END $$
"""
OF_EMBEDDING = """
    PERFORM {schema}.charge_period_budgets(tenant, of_user, NULLIF(current_setting('app.key_line', true), ''), at,
      true, bounded, CASE WHEN cost IS NOT NULL THEN GREATEST(cost, ahead) END, cost, 0);"""
TOLD = """,
          DETAIL = CASE WHEN budget.user_id IS NULL THEN 'tenant month' ELSE 'user month' END"""

# As revision 0028 has it, and with the line of keys that the key belongs to.
ENTER_BY_KEY = """
CREATE OR REPLACE FUNCTION enter_tenant_by_key(tenant_id text, user_id text, key_id text, as_admin boolean)
RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER
AS $$ DECLARE own boolean; move text; until timestamptz;{declared} BEGIN
  PERFORM set_config('app.tenant_id', COALESCE($1, ''), true), set_config('app.user_id', $2, true),
    set_config('app.key_id', $3, true), set_config('app.viewer', '*', true),
    set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_seqscan', 'off', true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('{schema}.messages'::regclass) THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
  SELECT NOT $4 AND t.message_visibility = 'own', t.moving, t.moving_until{selected} INTO own, move, until{into}
  FROM {schema}.api_keys k JOIN {schema}.users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
    JOIN {schema}.tenants t ON t.id = $1 AND t.erasing_at IS NULL
  WHERE k.tenant_id = $1 AND k.id = $3 AND k.user_id = $2 AND (k.expires_at IS NULL OR k.expires_at > now())
    AND u.tenant_id = $1 AND u.disabled_at IS NULL AND (u.role = 'admin' OR NOT $4);
  IF own IS NULL THEN
    RAISE EXCEPTION 'the key has ended, or its user is gone or changed' USING ERRCODE = 'LS001';
  END IF;{set}
  IF until > now() THEN
    IF move = 'arriving' THEN
      RAISE EXCEPTION 'the tenant is moving' USING ERRCODE = 'LS006';
    END IF;
    PERFORM set_config('transaction_read_only', 'on', true);
    RAISE WARNING 'the tenant is moving' USING ERRCODE = 'LS006';
  END IF;
  IF own THEN
    PERFORM set_config('app.viewer', $2, true);
  END IF;
  RETURN own;
END $$
"""
WITH_LINE = {
    "declared": " line text;",
    "selected": ", COALESCE(k.line_id, k.id)",
    "into": ", line",
    "set": "\n  PERFORM set_config('app.key_line', line, true);",
}
WITHOUT_LINE = dict.fromkeys(WITH_LINE, "")
BY_TRANSACTION = "NULLIF(current_setting('app.key_line', true), '')"


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "period_budgets",
        *owner(user_optional=True),
        sa.Column("holder", sa.String(36), nullable=False),
        sa.Column("period_unit", sa.String(5), nullable=False),
        sa.Column("limit_micro_usd", sa.BigInteger()),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("spent_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micro_usd", sa.BigInteger(), nullable=False),
        *timestamps(),
        *owner_keys("period_budgets"),
        sa.PrimaryKeyConstraint("tenant_id", "holder", "period_unit", name="pk_period_budgets"),
        sa.CheckConstraint("period_unit IN ('day', 'week', 'month')", name="ck_period_budgets_period_unit"),
        sa.CheckConstraint("(holder = '') = (user_id IS NULL)", name="ck_period_budgets_holder"),
    )
    op.create_index("ix_period_budgets_tenant_id_user_id", "period_budgets", ["tenant_id", "user_id"])
    isolate("period_budgets")
    op.execute("CREATE POLICY account ON period_budgets TO llm_saas_definer USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, DELETE ON period_budgets TO llm_saas_app")
    op.execute("GRANT UPDATE (limit_micro_usd, updated_at) ON period_budgets TO llm_saas_app")
    op.execute("GRANT SELECT ON period_budgets TO llm_saas_definer")
    op.execute("GRANT UPDATE (period, spent_micro_usd, reserved_micro_usd) ON period_budgets TO llm_saas_definer")
    op.add_column("api_keys", sa.Column("line_id", sa.String(36)))
    # The default comes after the column: it is of the transaction that writes, and no row is rewritten for it.
    op.add_column("messages", sa.Column("api_key_line", sa.String(36)))
    op.execute(f"ALTER TABLE messages ALTER COLUMN api_key_line SET DEFAULT {BY_TRANSACTION}")
    op.execute("GRANT UPDATE (api_key_line) ON messages TO llm_saas_app")
    op.execute(CHARGE_PERIODS.format(schema=schema))
    op.execute(f"REVOKE ALL ON FUNCTION {CHARGE_PERIODS_NAME} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {CHARGE_PERIODS_NAME} TO llm_saas_definer")
    replace_functions(TOLD, OF_MESSAGES, OF_EMBEDDING, WITH_LINE)


def replace_functions(told: str, of_messages: str, of_embedding: str, line: dict[str, str]) -> None:
    schema = quoted_schema()
    op.execute(ACCOUNT.format(schema=schema, told=told, periods=of_messages.format(schema=schema)))
    op.execute(CHARGE_EMBEDDING.format(schema=schema, told=told, periods=of_embedding.format(schema=schema)))
    op.execute(ENTER_BY_KEY.format(schema=schema, **line))


def downgrade() -> None:
    """Forget these budgets, and which key a message was sent with. Keys that followed another stand alone."""
    replace_functions("", "", "", WITHOUT_LINE)
    wait_for_what_runs()  # in the functions that read the columns
    op.execute(f"DROP FUNCTION {CHARGE_PERIODS_NAME}")
    # In the order in which requests lock: what they enter by, then messages.
    op.drop_table("period_budgets")
    op.drop_column("api_keys", "line_id")
    op.drop_column("messages", "api_key_line")
