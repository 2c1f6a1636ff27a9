"""A budget that refuses is told as spent to its end, once in a period: most refuse before all of it is spent.

Revision ID: 0046
Revises: 0045
"""

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0046"
down_revision: str | None = "0045"
branch_labels = None
depends_on = None

# Of a budget that holds for the transaction's tenant, user or key, and does not cover `need` now; what not even all of
# it would cover says nothing of it. The row of 100 % is the one that spending writes: whichever comes first is told.
NOTE = """
CREATE FUNCTION note_budget_refused(of_kind text, of_unit text, of_user text, need bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  tenant text := {schema}.app_tenant();
  beginning date := date_trunc(of_unit, now() AT TIME ZONE 'UTC');
  holds text := CASE of_kind WHEN 'tenant' THEN '' WHEN 'user' THEN of_user
    WHEN 'key' THEN NULLIF(current_setting('app.key_line', true), '') END;
  most bigint;
  spent bigint;
  taken bigint;
  began date;
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION 'of no tenant' USING ERRCODE = 'LS002';
  END IF;
  IF of_unit = 'month' AND of_kind <> 'key' THEN
    SELECT LEAST(b.limit_micro_usd, b.ceiling_micro_usd), b.spent_micro_usd, b.reserved_micro_usd, b.period
      INTO most, spent, taken, began
      FROM {schema}.budgets b
      WHERE b.tenant_id = tenant AND b.user_id IS NOT DISTINCT FROM NULLIF(holds, '');
  ELSE
    SELECT b.limit_micro_usd, b.spent_micro_usd, b.reserved_micro_usd, b.period INTO most, spent, taken, began
      FROM {schema}.period_budgets b
      WHERE b.tenant_id = tenant AND b.holder = holds AND b.period_unit = of_unit;
  END IF;
  IF began < beginning THEN
    spent := 0;
    taken := 0;
  END IF;
  IF most > 0 AND began <= beginning AND need <= most AND spent + taken + need > most THEN
    INSERT INTO {schema}.budget_alerts (tenant_id, holder, period_unit, period, threshold, kind, limit_micro_usd,
        spent_micro_usd, due_at)
      SELECT tenant, holds, of_unit, beginning, 100, of_kind, most, spent, now()
      FROM {schema}.tenants t
      WHERE t.id = tenant AND t.event_webhook_url IS NOT NULL AND t.erasing_at IS NULL
        AND t.moving IS DISTINCT FROM 'arriving'
      ON CONFLICT DO NOTHING;
  END IF;
END $$
"""
FUNCTION = "note_budget_refused(text, text, text, bigint)"


def upgrade() -> None:
    schema = quoted_schema()
    op.execute(NOTE.format(schema=schema))
    hand_to_definer(schema, [FUNCTION])


def downgrade() -> None:
    """What was noted is told."""
    op.execute(f"DROP FUNCTION {FUNCTION}")
