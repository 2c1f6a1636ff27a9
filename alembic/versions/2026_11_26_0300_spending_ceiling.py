"""The operator's ceiling on what a tenant spends.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema
from app.db.roles import RUNTIME_ROLE

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None

# As before (see the message engine's migration), but for the tenant's own row: what it may spend is the smaller of its
# limit and its ceiling, and where it has none the one that the service gives to all (`app.tenant_ceiling`).
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
      most := {most};
      IF message.claim_micro_usd IS NULL AND most IS NOT NULL THEN
        RAISE EXCEPTION 'the model has no price' USING ERRCODE = 'LS004';
      ELSIF budget.spent_micro_usd + budget.reserved_micro_usd + claim > most THEN
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
WITHOUT_CEILING = "budget.limit_micro_usd"
WITH_CEILING = """LEAST(budget.limit_micro_usd, CASE WHEN budget.user_id IS NULL THEN COALESCE(
        budget.ceiling_micro_usd, NULLIF(current_setting('app.tenant_ceiling', true), '')::bigint) END)"""

# For the database's owner alone, who belongs to the definer role: the runtime role may not call it.
SET_CEILING = """
CREATE FUNCTION set_tenant_ceiling(tenant_id text, ceiling bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
BEGIN
  PERFORM set_config('app.tenant_id', $1, true), set_config('app.user_id', '', true),
    set_config('app.key_id', '', true);
  UPDATE {schema}.budgets b SET ceiling_micro_usd = $2 WHERE b.tenant_id = $1 AND b.user_id IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO {schema}.audit_log (id, tenant_id, action, actor_type, target_id, details)
    VALUES (gen_random_uuid()::text, $1, 'ceiling.set', 'operator', $1, jsonb_build_object('ceiling_micro_usd', $2));
  RETURN true;
END $$
"""
INSERTED = "id, tenant_id, user_id, limit_micro_usd, period, spent_micro_usd, reserved_micro_usd"
NOTED = "id, tenant_id, action, actor_type, target_id, details"


def upgrade() -> None:
    schema = quoted_schema()
    op.add_column("budgets", sa.Column("ceiling_micro_usd", sa.BigInteger()))
    op.execute(ACCOUNT.format(schema=schema, most=WITH_CEILING))
    # The runtime role sets limits, and no ceiling.
    op.execute("REVOKE INSERT ON budgets FROM llm_saas_app")
    op.execute(f"GRANT INSERT ({INSERTED}) ON budgets TO llm_saas_app")
    op.execute("GRANT UPDATE (ceiling_micro_usd) ON budgets TO llm_saas_definer")
    op.execute(f"GRANT INSERT ({NOTED}) ON audit_log TO llm_saas_definer")
    op.execute(
        "CREATE POLICY note ON audit_log FOR INSERT TO llm_saas_definer"
        " WITH CHECK (actor_type = 'operator' AND tenant_id = app_tenant())"
    )
    op.execute(SET_CEILING.format(schema=schema))
    hand_to_definer(schema, ["set_tenant_ceiling(text, bigint)"])
    op.execute("SET LOCAL ROLE llm_saas_definer")
    op.execute(f"REVOKE ALL ON FUNCTION set_tenant_ceiling(text, bigint) FROM {RUNTIME_ROLE}")
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Forget the ceilings."""
    op.execute("DROP FUNCTION set_tenant_ceiling(text, bigint)")
    op.execute("DROP POLICY note ON audit_log")
    op.execute(f"REVOKE INSERT ({NOTED}) ON audit_log FROM llm_saas_definer")
    op.execute(f"REVOKE INSERT ({INSERTED}) ON budgets FROM llm_saas_app")
    op.execute("GRANT INSERT ON budgets TO llm_saas_app")
    op.execute(ACCOUNT.format(schema=quoted_schema(), most=WITHOUT_CEILING))
    op.drop_column("budgets", "ceiling_micro_usd")
