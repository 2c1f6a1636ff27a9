"""Leases are short, and renewed by the process that runs a message.

Revision ID: 0019
Revises: 0018
"""

from alembic import op
from app.db.migration import grant_to_runtime, quoted_schema

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels = None
depends_on = None

# One statement for all that runs in a process. SECURITY INVOKER, each tenant is entered in turn, as in write_deltas.
# A row that somebody holds is passed over: it is about to end, or its turn comes again long before its lease is over.
# So nothing here waits for a lock, and no two who lock several messages can wait for each other. By key, one at a time:
# no plan for a tenant of average size can read all of a large one.
RENEW_LEASES = """
CREATE FUNCTION renew_leases(batch jsonb, lease interval) RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE
  entry jsonb;
  run record;
BEGIN
  FOR entry IN SELECT jsonb_array_elements(batch) LOOP
    PERFORM set_config('app.tenant_id', entry->>'tenant_id', true);
    FOR run IN SELECT * FROM jsonb_to_recordset(entry->'runs') AS r (id text, attempt int) LOOP
      PERFORM FROM {schema}.messages m
        WHERE m.tenant_id = entry->>'tenant_id' AND m.id = run.id AND m.attempts = run.attempt AND m.status = 'pending'
        FOR NO KEY UPDATE SKIP LOCKED;
      IF FOUND THEN
        UPDATE {schema}.messages SET lease_expires_at = clock_timestamp() + lease
          WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = run.id;
      END IF;
    END LOOP;
  END LOOP;
  PERFORM set_config('app.tenant_id', '', true);
END $$
"""


def upgrade() -> None:
    op.execute(RENEW_LEASES.format(schema=quoted_schema()))
    grant_to_runtime(["renew_leases(jsonb, interval)"])


def downgrade() -> None:
    op.execute("DROP FUNCTION renew_leases(jsonb, interval)")
