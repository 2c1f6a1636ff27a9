"""What was embedded for a tenant is counted by the hour, and claims from its budgets what it costs.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels = None
depends_on = None

# Before a model is asked, with the most that it can cost (`bounded`: as long as the budgets cover it, and `ahead`, what
# is known to follow); afterwards once more, with the difference. `at`: of the first of the two, so that both meet the
# same hour and month. In the order of `account_message`: the advisory lock, the tenant's budget, the user's.
# SECURITY DEFINER: the runtime role must not write what a tenant is charged for.
CHARGE = """
CREATE FUNCTION charge_embedding(of_user text, of_model text, at timestamptz, tokens bigint, cost bigint, ahead bigint,
                                 bounded boolean) RETURNS void
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
        RAISE EXCEPTION 'the budget does not cover the texts' USING ERRCODE = 'LS003';
      END IF;
      UPDATE {schema}.budgets b
        SET period = month, spent_micro_usd = GREATEST(budget.spent_micro_usd + COALESCE(cost, 0), 0),
          reserved_micro_usd = budget.reserved_micro_usd
        WHERE b.id = budget.id;
    END LOOP;
  END IF;
  IF tokens <> 0 OR cost <> 0 THEN
    INSERT INTO {schema}.embedding_hours AS h (tenant_id, hour, user_id, model, tokens, cost_micro_usd)
      VALUES (tenant, date_trunc('hour', at, 'UTC'), of_user, of_model, tokens, COALESCE(cost, 0))
      ON CONFLICT ON CONSTRAINT pk_embedding_hours DO UPDATE SET tokens = h.tokens + excluded.tokens,
        cost_micro_usd = h.cost_micro_usd + excluded.cost_micro_usd;
  END IF;
END $$
"""
FUNCTION = "charge_embedding(text, text, timestamptz, bigint, bigint, bigint, boolean)"


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "embedding_hours",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("tokens", "cost_micro_usd")),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "user_id", "model", name="pk_embedding_hours"),
        tenant_key("embedding_hours"),
    )
    isolate("embedding_hours")
    op.execute("CREATE POLICY charge ON embedding_hours TO llm_saas_definer USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON embedding_hours TO llm_saas_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON embedding_hours TO llm_saas_definer")
    op.execute(CHARGE.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])


def downgrade() -> None:
    """Forget what embedding cost; what budgets have spent for it stays spent."""
    op.execute(f"DROP FUNCTION {FUNCTION}")
    op.drop_table("embedding_hours")
