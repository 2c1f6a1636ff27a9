"""Background messages can wait for a worker: the row is the queue.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels = None
depends_on = None

QUEUED = "queue_tag IS NOT NULL"

# Start-time fair: one round behind the head of the queue, and behind the last that the tenant has there. So who queues
# ten thousand is served in turn with who queues one. The tenant is the transaction's. Its messages get their tags one
# after the other, until the commit of each: those of one moment would share a round otherwise, and a tenant that sends
# from a hundred connections would have a hundred turns in it. VOLATILE: what is looked up is what the one before left.
NEXT_TAG = """
CREATE FUNCTION next_queue_tag() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('queue ' || {schema}.app_tenant(), 0));
  SELECT GREATEST(0,
    (SELECT m.queue_tag FROM {schema}.messages m WHERE m.queue_tag IS NOT NULL ORDER BY m.queue_tag, m.id LIMIT 1),
    (SELECT m.queue_tag FROM {schema}.messages m WHERE m.tenant_id = {schema}.app_tenant() AND m.queue_tag IS NOT NULL
     ORDER BY m.queue_tag DESC LIMIT 1)) + 1
$$
"""

# Those whose turn it is, held for a while: who took them and did not begin them is dead. None of a tenant that has
# `per_tenant` under way; those who take at the same moment may pass that by what they take. Of so many at the head,
# because a tenant at its bound may have any number of them. Ids alone: what is then done is done inside the tenant.
TAKE = """
CREATE FUNCTION take_queued_messages(most integer, per_tenant integer, hold interval)
RETURNS TABLE (tenant_id text, id text, attempts integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  waiting record;
  lapsed timestamptz := now() - GREATEST(interval '1 second', $3);
  room jsonb := '{{}}';
  free integer;
  taken integer := 0;
BEGIN
  FOR waiting IN
    SELECT m.id, m.tenant_id, m.attempts FROM {schema}.messages m
    WHERE m.queue_tag IS NOT NULL AND (m.taken_at IS NULL OR m.taken_at < lapsed)
    ORDER BY m.queue_tag, m.id LIMIT 1000
  LOOP
    EXIT WHEN taken >= $1;
    free := room->waiting.tenant_id;
    IF free IS NULL THEN
      SELECT $2 - count(*) INTO free FROM (
        SELECT FROM {schema}.messages r
        WHERE r.tenant_id = waiting.tenant_id AND r.taken_at IS NOT NULL AND r.status = 'pending'
          AND (r.queue_tag IS NULL OR r.taken_at >= lapsed)
        LIMIT $2
      ) AS under_way;
    END IF;
    IF free > 0 THEN
      UPDATE {schema}.messages m SET taken_at = clock_timestamp() WHERE m.id = (
        SELECT w.id FROM {schema}.messages w
        WHERE w.id = waiting.id AND w.queue_tag IS NOT NULL AND (w.taken_at IS NULL OR w.taken_at < lapsed)
        FOR UPDATE SKIP LOCKED
      );
      IF FOUND THEN
        taken := taken + 1;
        free := free - 1;
        RETURN QUERY SELECT waiting.tenant_id::text, waiting.id::text, waiting.attempts::integer;
      END IF;
    END IF;
    room := room || jsonb_build_object(waiting.tenant_id, free);
  END LOOP;
END $$
"""

# For whoever watches: a scan of what waits.
STATE = """
CREATE FUNCTION message_queue() RETURNS TABLE (waiting bigint, oldest_seconds double precision, under_way bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off
AS $$
  SELECT count(*), COALESCE(extract(epoch FROM now() - min(m.claimed_at)), 0)::double precision,
    (SELECT count(*) FROM {schema}.messages r
     WHERE r.taken_at IS NOT NULL AND r.status = 'pending' AND r.queue_tag IS NULL)
  FROM {schema}.messages m WHERE m.queue_tag IS NOT NULL
$$
"""
FUNCTIONS = ("next_queue_tag()", "take_queued_messages(integer, integer, interval)", "message_queue()")
READ = "attempts, queue_tag, taken_at, claimed_at"


def upgrade() -> None:
    schema = quoted_schema()
    op.add_column("messages", sa.Column("queue_tag", sa.BigInteger()))
    op.add_column("messages", sa.Column("taken_at", sa.DateTime(timezone=True)))
    op.execute("GRANT UPDATE (queue_tag, taken_at) ON messages TO llm_saas_app")
    op.execute(f"GRANT SELECT ({READ}) ON messages TO llm_saas_definer")
    op.execute("GRANT UPDATE (taken_at) ON messages TO llm_saas_definer")
    op.execute(
        f"CREATE POLICY take_queued ON messages FOR UPDATE TO llm_saas_definer USING ({QUEUED}) WITH CHECK ({QUEUED})"
    )
    for function in (NEXT_TAG, TAKE, STATE):
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, FUNCTIONS)


def downgrade() -> None:
    """What waits is ended by the next sweep: its lease is its deadline."""
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP POLICY take_queued ON messages")
    op.execute("REVOKE SELECT (attempts, claimed_at) ON messages FROM llm_saas_definer")
    for column in ("taken_at", "queue_tag"):
        op.drop_column("messages", column)
