"""A tenant may have its answers kept, and a message says that its answer was.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import quoted_schema

revision: str = "0018"
down_revision: str | None = "0017"
# squawk: constraint-missing-not-valid, of a column that is new: a look at the few rows of `tenants`
branch_labels = None
depends_on = None

# As it was, and with the answers that were kept counted beside all.
ADD_UP = """
CREATE OR REPLACE FUNCTION add_up_usage() RETURNS boolean
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
                                   cost_micro_usd{hits})
    SELECT tenant, (used.created_at AT TIME ZONE 'UTC')::date, used.user_id, COALESCE(used.model, ''), count(*),
      COALESCE(sum(used.input_tokens), 0), COALESCE(sum(used.cached_tokens), 0), COALESCE(sum(used.output_tokens), 0),
      COALESCE(sum(used.cost_micro_usd), 0){count}
    FROM (
      SELECT m.created_at, m.user_id, m.model, m.input_tokens, m.cached_tokens, m.output_tokens, m.cost_micro_usd{m}
      FROM {schema}.messages m WHERE m.tenant_id = tenant
        AND m.created_at >= begins::timestamp AT TIME ZONE 'UTC' AND m.created_at < ends::timestamp AT TIME ZONE 'UTC'
      UNION ALL
      SELECT d.created_at, d.user_id, d.model, d.input_tokens, d.cached_tokens, d.output_tokens, d.cost_micro_usd{d}
      FROM {schema}.deleted_usage d WHERE d.tenant_id = tenant
        AND d.created_at >= begins::timestamp AT TIME ZONE 'UTC' AND d.created_at < ends::timestamp AT TIME ZONE 'UTC'
    ) AS used GROUP BY 2, 3, 4;
  INSERT INTO {schema}.usage_ends AS e (tenant_id, day) VALUES (tenant, ends)
    ON CONFLICT ON CONSTRAINT pk_usage_ends DO UPDATE SET day = excluded.day;
  RETURN ends < over;
END $$
"""
WITHOUT_HITS = {"hits": "", "count": "", "m": "", "d": ""}
WITH_HITS = {
    "hits": ", cache_hits",
    "count": ", count(*) FILTER (WHERE used.cached)",
    "m": ", m.cached",
    "d": ", d.cached",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("tenants", sa.Column("cache_ttl_seconds", sa.Integer()))
    op.add_column("tenants", sa.Column("cache_epoch", sa.String(36)))
    op.execute(
        "ALTER TABLE tenants ADD CONSTRAINT ck_tenants_cache_ttl_seconds"
        " CHECK (cache_ttl_seconds IS NULL OR (cache_ttl_seconds BETWEEN 1 AND 86400 AND cache_epoch IS NOT NULL))"
    )
    op.execute("GRANT UPDATE (cache_ttl_seconds, cache_epoch) ON tenants TO llm_saas_app")
    for table in ("messages", "deleted_usage"):
        op.add_column(table, sa.Column("cached", sa.Boolean(), server_default="false", nullable=False))
        op.execute(f"GRANT SELECT (cached) ON {table} TO llm_saas_definer")
    op.execute("GRANT UPDATE (cached) ON messages TO llm_saas_app")
    op.add_column("usage_days", sa.Column("cache_hits", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(ADD_UP.format(schema=quoted_schema(), **WITH_HITS))


def downgrade() -> None:
    """Nothing is kept any more; what was is forgotten in Redis when its time is over."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(ADD_UP.format(schema=quoted_schema(), **WITHOUT_HITS))
    op.drop_column("usage_days", "cache_hits")
    for table in ("deleted_usage", "messages"):
        op.drop_column(table, "cached")
    op.execute("ALTER TABLE tenants DROP CONSTRAINT ck_tenants_cache_ttl_seconds")
    op.drop_column("tenants", "cache_epoch")
    op.drop_column("tenants", "cache_ttl_seconds")
