"""A message has more than text: thoughts and tool calls in its deltas, and its items and options beside it.

Revision ID: 0034
Revises: 0033
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op
from app.db.migration import hand_to_definer, isolate, quoted_schema, tenant_key

revision: str = "0034"
down_revision: str | None = "0033"
branch_labels = None
depends_on = None

# What the statements that end a message, or run it again, set.
SET = "reasoning_tokens, has_contents"
# As in revision 0008, with what each piece is.
WRITE_DELTAS = """
CREATE OR REPLACE FUNCTION write_deltas(batch jsonb, notices text[])
RETURNS SETOF text LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE entry jsonb;
BEGIN
  FOR entry IN SELECT jsonb_array_elements(batch) LOOP
    PERFORM set_config('app.tenant_id', entry->>'tenant_id', true);
    -- What was written by a commit that nobody confirmed is written again.
    INSERT INTO {schema}.message_deltas (tenant_id, message_id, attempt, start, text{names})
      SELECT m.tenant_id, m.id, d.attempt, d.start, d.text{values}
      FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int, start int, text text{typed})
      CROSS JOIN LATERAL (
        SELECT * FROM {schema}.messages messages
        WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m
      WHERE m.status = 'pending' AND m.attempts = d.attempt AND d.text <> ''
      ON CONFLICT ON CONSTRAINT pk_message_deltas DO UPDATE SET text = excluded.text;
    RETURN QUERY
      SELECT d.id FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int)
      LEFT JOIN LATERAL (
        SELECT * FROM {schema}.messages messages
        WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m ON true
      WHERE m.id IS NULL OR m.cancel_requested OR m.status <> 'pending' OR m.attempts <> d.attempt;
  END LOOP;
  PERFORM set_config('app.tenant_id', '', true);
  PERFORM pg_notify('llm_saas_messages', notice) FROM unnest(notices) AS notice;
END $$
"""
WITH_KINDS = {"names": ", kind, number", "values": ", d.kind, d.number", "typed": ", kind text, number int"}
WITHOUT_KINDS = dict.fromkeys(WITH_KINDS, "")
# A row of contents has no user: its message does. Only reading asks; who writes it writes its message.
VIEWER = """
CREATE POLICY viewer ON message_contents AS RESTRICTIVE FOR SELECT TO llm_saas_app USING (
  CASE WHEN (SELECT app_viewer()) = '*' THEN true ELSE EXISTS (
    SELECT FROM messages m WHERE m.tenant_id = message_contents.tenant_id AND m.id = message_contents.message_id) END)
"""
DEFINER = """
GRANT SELECT (tenant_id, message_id), DELETE ON message_contents TO llm_saas_definer;
CREATE POLICY forget ON message_contents TO llm_saas_definer USING (true)
"""
# Whoever deletes a message, and by whatever way: along a key of its user too.
FORGET = """
CREATE FUNCTION forget_contents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
BEGIN
  DELETE FROM {schema}.message_contents c WHERE c.tenant_id = OLD.tenant_id AND c.message_id = OLD.id;
  RETURN NULL;
END $$
"""
GOES = """
CREATE TRIGGER contents_go AFTER DELETE ON messages
FOR EACH ROW WHEN (OLD.has_contents) EXECUTE FUNCTION forget_contents()
"""


def columns() -> list[sa.Column[object]]:
    """NULL where a message is what it was before there were any: then its row is as long as it was."""
    return [
        sa.Column("api", sa.String(20)),
        sa.Column("asked_model", sa.String(255)),
        sa.Column("reasoning_tokens", sa.Integer()),
        sa.Column("metadata", JSONB(none_as_null=True)),
        sa.Column("previous_id", sa.String(36)),
        sa.Column("stored", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("has_contents", sa.Boolean()),
    ]


def upgrade() -> None:
    schema = quoted_schema()
    for column in columns():
        op.add_column("messages", column)
    op.execute(f"GRANT UPDATE ({SET}) ON messages TO llm_saas_app")
    op.add_column("message_deltas", sa.Column("kind", sa.String(10)))
    op.add_column("message_deltas", sa.Column("number", sa.SmallInteger()))
    # No key to messages: it would need an index of its own, written twice with each message, for the few that have a
    # row here. It is written by the statement that stores the message, and goes with it.
    op.create_table(
        "message_contents",
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("request", JSONB(none_as_null=True)),
        sa.Column("output", JSONB(none_as_null=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        tenant_key("message_contents"),
        sa.PrimaryKeyConstraint("tenant_id", "message_id", name="pk_message_contents"),
    )
    isolate("message_contents")
    op.execute("GRANT SELECT, INSERT, UPDATE (request, output, expires_at), DELETE ON message_contents TO llm_saas_app")
    op.execute(VIEWER)
    for statement in DEFINER.split(";"):
        op.execute(statement)
    op.execute(WRITE_DELTAS.format(schema=schema, **WITH_KINDS))
    op.execute(FORGET.format(schema=schema))
    op.execute(GOES)
    hand_to_definer(schema, ["forget_contents()"])


def downgrade() -> None:
    """What is more than text goes."""
    schema = quoted_schema()
    op.execute("DROP TRIGGER contents_go ON messages")
    op.execute("DROP FUNCTION forget_contents()")
    op.execute(WRITE_DELTAS.format(schema=schema, **WITHOUT_KINDS))
    op.drop_table("message_contents")
    for name in ("number", "kind"):
        op.drop_column("message_deltas", name)
    for column in reversed(columns()):
        op.drop_column("messages", column.name)
