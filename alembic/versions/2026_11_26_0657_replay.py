"""A read at a replica waits until that has replayed what the primary knew when the read came.

Revision ID: 0026
Revises: 0025
"""

from alembic import op
from app.db.migration import grant_to_runtime

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels = None
depends_on = None

# Called in the trip that begins the transaction, before the tenant is entered: the next statement of that trip takes a
# snapshot of its own. What is no replica (any more) may have a history of its own: never what the primary knows.
WAIT_FOR_REPLAY = """
CREATE FUNCTION wait_for_replay(reached pg_lsn, milliseconds integer) RETURNS void LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  until timestamptz := clock_timestamp() + milliseconds * interval '1 millisecond';
BEGIN
  LOOP
    IF NOT pg_is_in_recovery() THEN
      RAISE EXCEPTION 'this is no replica' USING ERRCODE = 'LS005';
    END IF;
    EXIT WHEN pg_last_wal_replay_lsn() >= reached;
    IF clock_timestamp() >= until THEN
      RAISE EXCEPTION 'the replica is behind' USING ERRCODE = 'LS005';
    END IF;
    PERFORM pg_sleep(0.0005);
  END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute(WAIT_FOR_REPLAY)
    grant_to_runtime(["wait_for_replay(pg_lsn, integer)"])


def downgrade() -> None:
    op.execute("DROP FUNCTION wait_for_replay(pg_lsn, integer)")
