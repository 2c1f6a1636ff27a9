"""A tenant is told when a budget is half spent, spent to 80 %, and spent: by webhook, once in a period.

Revision ID: 0043
Revises: 0042
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key, timestamps

revision: str = "0043"
down_revision: str | None = "0042"
branch_labels = None
depends_on = None

# In the transaction that spends, or that sets the limit: what was noted is told, whatever is killed next. A copy of a
# tenant in another region brings along what was noted at home.
NOTE = """
CREATE FUNCTION note_budget_threshold() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE
  now_most bigint := NEW.limit_micro_usd;
  old_most bigint;
  old_spent bigint;
  holds text;
  kind text;
  unit text := 'month';
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.period = NEW.period THEN
    old_most := OLD.limit_micro_usd;
    old_spent := OLD.spent_micro_usd;
  END IF;
  IF TG_TABLE_NAME = 'budgets' THEN
    now_most := LEAST(now_most, NEW.ceiling_micro_usd);
    old_most := CASE WHEN old_spent IS NOT NULL THEN LEAST(old_most, OLD.ceiling_micro_usd) END;
    holds := COALESCE(NEW.user_id, '');
  ELSE
    holds := NEW.holder;
    unit := NEW.period_unit;
  END IF;
  IF NEW.period <> date_trunc(unit, now() AT TIME ZONE 'UTC')::date THEN
    RETURN NULL;
  END IF;
  kind := CASE WHEN holds = '' THEN 'tenant' WHEN holds = NEW.user_id THEN 'user' ELSE 'key' END;
  INSERT INTO {schema}.budget_alerts (tenant_id, holder, period_unit, period, threshold, kind, limit_micro_usd,
      spent_micro_usd, due_at)
    SELECT NEW.tenant_id, holds, unit, NEW.period, reached.threshold, kind, now_most, NEW.spent_micro_usd, now()
    FROM {schema}.tenants t, (VALUES (50), (80), (100)) AS reached (threshold)
    WHERE t.id = NEW.tenant_id AND t.event_webhook_url IS NOT NULL AND t.erasing_at IS NULL
      AND t.moving IS DISTINCT FROM 'arriving'
      AND NEW.spent_micro_usd::numeric * 100 >= now_most::numeric * reached.threshold
      AND NOT COALESCE(old_spent::numeric * 100 >= old_most::numeric * reached.threshold, false)
    ON CONFLICT DO NOTHING;
  IF FOUND THEN
    DELETE FROM {schema}.budget_alerts a
      WHERE a.tenant_id = NEW.tenant_id AND a.holder = holds AND a.period_unit = unit AND a.period < NEW.period
        AND a.due_at IS NULL;
  END IF;
  RETURN NULL;
END $$
"""
# The budgets go with their user, or with the last key of a line.
FORGET = """
CREATE FUNCTION forget_budget_alerts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
BEGIN
  IF TG_TABLE_NAME = 'budgets' THEN
    DELETE FROM {schema}.budget_alerts a
      WHERE a.tenant_id = OLD.tenant_id AND a.holder = COALESCE(OLD.user_id, '') AND a.period_unit = 'month';
  ELSE
    DELETE FROM {schema}.budget_alerts a
      WHERE a.tenant_id = OLD.tenant_id AND a.holder = OLD.holder AND a.period_unit = OLD.period_unit;
  END IF;
  RETURN NULL;
END $$
"""
FUNCTIONS = ("note_budget_threshold()", "forget_budget_alerts()")
# As before (see the indexes of lists); alerts first, which are few, and no more of both than were asked for.
CLAIM_DUE = """
CREATE OR REPLACE FUNCTION claim_due_webhooks(claim interval, most integer, busy text[])
RETURNS TABLE (tenant_id text, id text)
LANGUAGE {language} VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
  {body}
$$
"""
CLAIM = "now() + GREATEST(interval '1 second', LEAST(interval '10 minutes', $1))"
OF_MESSAGES = """UPDATE {schema}.messages m SET webhook_due_at = {claim}
  FROM (SELECT w.id FROM {schema}.messages w WHERE w.webhook_due_at <= now() AND w.tenant_id <> ALL ($3)
        ORDER BY w.webhook_due_at LIMIT {most} FOR UPDATE SKIP LOCKED) due
  WHERE m.id = due.id RETURNING m.tenant_id{cast}, m.id{cast}"""
OF_BOTH = """DECLARE
    left_over integer := GREATEST(1, LEAST(100, $2));
    claimed integer;
  BEGIN
  RETURN QUERY UPDATE {schema}.budget_alerts a SET due_at = {claim}
  FROM (SELECT w.tenant_id, w.holder, w.period_unit, w.period, w.threshold FROM {schema}.budget_alerts w
        WHERE w.due_at <= now() AND w.tenant_id <> ALL ($3)
        ORDER BY w.due_at LIMIT left_over FOR UPDATE SKIP LOCKED) due
  WHERE a.tenant_id = due.tenant_id AND a.holder = due.holder AND a.period_unit = due.period_unit
    AND a.period = due.period AND a.threshold = due.threshold
  RETURNING a.tenant_id::text,
    concat_ws('/', 'budget', a.holder, a.period_unit, to_char(a.period, 'YYYY-MM-DD'), a.threshold);
  GET DIAGNOSTICS claimed = ROW_COUNT;
  left_over := left_over - claimed;
  IF left_over > 0 THEN
  RETURN QUERY {of_messages};
  END IF;
  END"""
DUE = """
CREATE OR REPLACE FUNCTION webhooks_due() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$ SELECT (SELECT count(*) FROM {schema}.messages m WHERE m.webhook_due_at <= now()){alerts} $$
"""
DUE_ALERTS = " + (SELECT count(*) FROM {schema}.budget_alerts a WHERE a.due_at <= now())"


def upgrade() -> None:
    schema = quoted_schema()
    op.add_column("tenants", sa.Column("event_webhook_url", sa.String(2048)))
    op.execute("GRANT UPDATE (event_webhook_url) ON tenants TO llm_saas_app")
    op.execute("GRANT SELECT (event_webhook_url, moving) ON tenants TO llm_saas_definer")
    # No key to users: who spends would wait for who deletes the user, and the other way round.
    op.create_table(
        "budget_alerts",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("holder", sa.String(36), nullable=False),
        sa.Column("period_unit", sa.String(5), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("threshold", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(6), nullable=False),
        sa.Column("limit_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("spent_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        *timestamps(),
        tenant_key("budget_alerts"),
        sa.PrimaryKeyConstraint("tenant_id", "holder", "period_unit", "period", "threshold", name="pk_budget_alerts"),
        sa.CheckConstraint("kind IN ('tenant', 'user', 'key')", name="ck_budget_alerts_kind"),
    )
    op.create_index(
        "ix_budget_alerts_due_at", "budget_alerts", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL")
    )
    isolate("budget_alerts")
    op.execute("CREATE POLICY account ON budget_alerts TO llm_saas_definer USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, UPDATE (due_at, attempts, updated_at) ON budget_alerts TO llm_saas_app")
    op.execute("GRANT SELECT, INSERT, DELETE, UPDATE (due_at) ON budget_alerts TO llm_saas_definer")
    op.execute(NOTE.format(schema=schema))
    op.execute(FORGET.format(schema=schema))
    hand_to_definer(schema, FUNCTIONS)
    of_messages = OF_MESSAGES.format(schema=schema, claim=CLAIM, most="left_over", cast="::text")
    replace_functions(
        "plpgsql",
        OF_BOTH.format(schema=schema, claim=CLAIM, of_messages=of_messages),
        DUE_ALERTS.format(schema=schema),
    )


def replace_functions(language: str, claim_due: str, alerts: str) -> None:
    schema = quoted_schema()
    op.execute(CLAIM_DUE.format(schema=schema, language=language, body=claim_due))
    op.execute(DUE.format(schema=schema, alerts=alerts))


def downgrade() -> None:
    """Nobody is told; what was noted goes."""
    most = "GREATEST(1, LEAST(100, $2))"
    replace_functions("sql", OF_MESSAGES.format(schema=quoted_schema(), claim=CLAIM, most=most, cast=""), "")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("budget_alerts")
    op.execute("REVOKE SELECT (moving) ON tenants FROM llm_saas_definer")
    op.drop_column("tenants", "event_webhook_url")
