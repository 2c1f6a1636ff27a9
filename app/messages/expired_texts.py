"""The SQL by which a text goes that was stored below `/v1`, so many days after it was sent. Its row stays, and figures.

As at OpenAI, what belongs to a conversation stays with it. `POST /messages` is not meant: its tenant's own days hold.
"""

from sqlalchemy import BigInteger, DateTime, Integer, String, bindparam, text

DAYS = bindparam("days", type_=Integer)
# Across tenants, by a SECURITY DEFINER function. One process looks for all; the lock goes with the transaction.
EXPIRED = text("""
SELECT tenants_with_expired_texts(:days) WHERE pg_try_advisory_xact_lock(hashtextextended('retention', 0))
""").bindparams(DAYS)
# As its index says it. One that runs stays: its row is where its answer goes.
FIND_EXPIRED = text("""
SELECT messages.ctid AS place, messages.created_at, messages.id FROM messages
WHERE messages.tenant_id = :tenant_id AND (messages.created_at, messages.id) > (:created_at, :id)
  AND messages.created_at < now() - make_interval(days => :days)
  AND messages.api IS NOT NULL AND messages.stored AND messages.conversation_id IS NULL
  AND messages.status <> 'pending'
ORDER BY messages.created_at, messages.id LIMIT :rows FOR UPDATE
""").bindparams(
    DAYS,
    bindparam("created_at", type_=DateTime(timezone=True)),
    bindparam("id", type_=String),
    bindparam("rows", type_=BigInteger),
)
# From then on it is as one that was not to be stored. An idempotency key has gone by then: it holds for a day.
BLANK = text("""
WITH blanked AS (
  UPDATE messages SET content = '', response = '', metadata = NULL, stored = false, has_contents = NULL
  WHERE messages.tenant_id = :tenant_id AND messages.ctid = :place
), unsaid AS (
  DELETE FROM message_deltas WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id
)
DELETE FROM message_contents WHERE message_contents.tenant_id = :tenant_id AND message_contents.message_id = :id
""")
