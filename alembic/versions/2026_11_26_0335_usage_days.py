"""Usage is added up by days that are over: what a tenant used is read from a row for each day, user and model.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None

# Adds up the days from where the tenant's sums end, a month at most; whether there is more. A day is over when nothing
# that began in it runs, and nobody can still begin: a transaction may have begun before midnight. SECURITY DEFINER: the
# runtime role must not write what a tenant is charged for.
ADD_UP = """
CREATE FUNCTION add_up_usage() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  tenant text := {schema}.app_tenant();
  begins date;
  ends date;
  over date := (now() - interval '5 minutes') AT TIME ZONE 'UTC';
BEGIN
  IF tenant IS NULL THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('usage ' || tenant, 0));
  SELECT e.day INTO begins FROM {schema}.usage_ends e WHERE e.tenant_id = tenant;
  IF begins >= over THEN
    RETURN false;
  END IF;
  IF begins IS NULL THEN
    begins := LEAST(
      (SELECT m.created_at FROM {schema}.messages m WHERE m.tenant_id = tenant ORDER BY m.created_at, m.id LIMIT 1),
      (SELECT min(d.created_at) FROM {schema}.deleted_usage d WHERE d.tenant_id = tenant)
    ) AT TIME ZONE 'UTC';
  END IF;
  over := LEAST(over, (SELECT min(m.created_at) AT TIME ZONE 'UTC' FROM {schema}.messages m
                       WHERE m.tenant_id = tenant AND m.status = 'pending')::date);
  ends := LEAST(over, begins + 31);
  IF begins IS NULL OR begins >= over THEN
    RETURN false;
  END IF;
  DELETE FROM {schema}.usage_days u WHERE u.tenant_id = tenant AND u.day >= begins;
  INSERT INTO {schema}.usage_days (tenant_id, day, user_id, model, messages, input_tokens, cached_tokens, output_tokens,
                                   cost_micro_usd)
    SELECT tenant, (used.created_at AT TIME ZONE 'UTC')::date, used.user_id, COALESCE(used.model, ''), count(*),
      COALESCE(sum(used.input_tokens), 0), COALESCE(sum(used.cached_tokens), 0), COALESCE(sum(used.output_tokens), 0),
      COALESCE(sum(used.cost_micro_usd), 0)
    FROM (
      SELECT m.created_at, m.user_id, m.model, m.input_tokens, m.cached_tokens, m.output_tokens, m.cost_micro_usd
      FROM {schema}.messages m WHERE m.tenant_id = tenant
        AND m.created_at >= begins::timestamp AT TIME ZONE 'UTC' AND m.created_at < ends::timestamp AT TIME ZONE 'UTC'
      UNION ALL
      SELECT d.created_at, d.user_id, d.model, d.input_tokens, d.cached_tokens, d.output_tokens, d.cost_micro_usd
      FROM {schema}.deleted_usage d WHERE d.tenant_id = tenant
        AND d.created_at >= begins::timestamp AT TIME ZONE 'UTC' AND d.created_at < ends::timestamp AT TIME ZONE 'UTC'
    ) AS used GROUP BY 2, 3, 4;
  INSERT INTO {schema}.usage_ends AS e (tenant_id, day) VALUES (tenant, ends)
    ON CONFLICT ON CONSTRAINT pk_usage_ends DO UPDATE SET day = excluded.day;
  RETURN ends < over;
END $$
"""

# A message of an added up day runs again, or came late: that day and the later ones are added up anew. Deleting one
# changes no sum. The lock is as that of `forget_block`.
REOPEN = """
CREATE FUNCTION reopen_usage() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
DECLARE began date := NEW.created_at AT TIME ZONE 'UTC';
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.status, OLD.model, OLD.input_tokens, OLD.cached_tokens, OLD.output_tokens,
      OLD.cost_micro_usd) IS NOT DISTINCT FROM
      (NEW.status, NEW.model, NEW.input_tokens, NEW.cached_tokens, NEW.output_tokens, NEW.cost_micro_usd) THEN
    RETURN NULL;
  END IF;
  IF NEW.tenant_id = {schema}.app_tenant() THEN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage ' || NEW.tenant_id, 0));
  END IF;
  UPDATE {schema}.usage_ends e SET day = began WHERE e.tenant_id = NEW.tenant_id AND e.day > began;
  RETURN NULL;
END $$
"""
# No list of columns: a trigger that names one keeps its type from being changed.
TRIGGERS = (
    """CREATE TRIGGER usage_came_late AFTER INSERT ON messages
       FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION reopen_usage()""",
    """CREATE TRIGGER usage_changed AFTER UPDATE ON messages
       FOR EACH ROW WHEN (OLD.status <> 'pending') EXECUTE FUNCTION reopen_usage()""",
)
DEFINER_FUNCTIONS = {"add_up_usage()": ADD_UP, "reopen_usage()": REOPEN}
TABLES = ("usage_days", "usage_ends")
GRANTS = """
GRANT SELECT ON usage_days, usage_ends TO llm_saas_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_days, usage_ends TO llm_saas_definer;
GRANT SELECT (model, input_tokens, cached_tokens, output_tokens, cost_micro_usd) ON messages TO llm_saas_definer;
GRANT SELECT (user_id, model, input_tokens, cached_tokens, output_tokens, cost_micro_usd, created_at)
  ON deleted_usage TO llm_saas_definer
"""


def upgrade() -> None:
    schema = quoted_schema()
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("messages", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "day", "user_id", "model", name="pk_usage_days"),
        tenant_key("usage_days"),
    )
    op.create_table(
        "usage_ends",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_usage_ends"),
        tenant_key("usage_ends"),
    )
    for table in TABLES:
        isolate(table)
        op.execute(f"CREATE POLICY add_up ON {table} TO llm_saas_definer USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY add_up ON deleted_usage FOR SELECT TO llm_saas_definer USING (true)")
    for grant in GRANTS.split(";"):
        op.execute(grant)
    for function in DEFINER_FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    for trigger in TRIGGERS:
        op.execute(trigger)
    hand_to_definer(schema, DEFINER_FUNCTIONS)


def downgrade() -> None:
    """Drop the sums: they are made of what stays."""
    for trigger in ("usage_came_late", "usage_changed"):
        op.execute(f"DROP TRIGGER {trigger} ON messages")
    for function in DEFINER_FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY add_up ON deleted_usage")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute(
        "REVOKE SELECT (model, input_tokens, cached_tokens, output_tokens, cost_micro_usd) ON messages"
        " FROM llm_saas_definer"
    )
    op.execute(
        "REVOKE SELECT (user_id, model, input_tokens, cached_tokens, output_tokens, cost_micro_usd, created_at)"
        " ON deleted_usage FROM llm_saas_definer"
    )
