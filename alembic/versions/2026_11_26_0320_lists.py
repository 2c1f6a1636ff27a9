"""Every filter of a list has an index; what sweeps delete is bounded.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import quoted_schema

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None

NEWEST_FIRST = ("created_at DESC", "id DESC")
AUDIT_FILTERS = (("actor_id",), ("target_id",), ("action",), ("actor_id", "action"))

# What is abandoned runs: there are few, and the index of what did not complete has them together.
ABANDONED = """
CREATE OR REPLACE FUNCTION abandoned_messages() RETURNS TABLE (tenant_id text, id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp {planned}
AS $$
  SELECT m.tenant_id, m.id FROM {schema}.messages m
  WHERE m.status = 'pending' AND m.lease_expires_at < now() ORDER BY m.lease_expires_at LIMIT 1000
$$
"""
BY_INDEX = "SET enable_seqscan = off"

# Bounded inside: the caller cannot put a tenant's webhooks off for ever, nor claim them all.
DUE_WEBHOOKS = """
CREATE OR REPLACE FUNCTION claim_due_webhooks(claim interval, most integer, busy text[])
RETURNS TABLE (tenant_id text, id text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp {planned}
AS $$
  UPDATE {schema}.messages m SET webhook_due_at = now() + {claim}
  FROM (SELECT w.id FROM {schema}.messages w WHERE w.webhook_due_at <= now() AND w.tenant_id <> ALL ($3)
        ORDER BY w.webhook_due_at LIMIT {most} FOR UPDATE SKIP LOCKED) due
  WHERE m.id = due.id RETURNING m.tenant_id, m.id
$$
"""
BOUNDED = {
    "claim": "GREATEST(interval '1 second', LEAST(interval '10 minutes', $1))",
    "most": "GREATEST(1, LEAST(100, $2))",
    # By key and by the index of what is due, whatever the statistics say of a table that has just grown.
    "planned": "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off",
}

# A thousand at a time, as a range of the index: no join to plan, and no transaction that takes minutes.
_SOME = """DELETE FROM {schema}.{table} x WHERE x.expires_at <= (SELECT max(e.expires_at) FROM (
    SELECT o.expires_at FROM {schema}.{table} o WHERE o.expires_at < now() ORDER BY o.expires_at LIMIT 1000) e)"""
_ALL = "DELETE FROM {schema}.{table} x WHERE x.expires_at < now()"
EXPIRED_KEYS = """
CREATE OR REPLACE FUNCTION delete_expired_idempotency_keys() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH gone AS ({idempotency_keys} RETURNING 1) SELECT count(*) FROM gone
$$
"""
EXPIRED_CREDENTIALS = """
CREATE OR REPLACE FUNCTION delete_expired_credentials() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH ended AS ({sessions} RETURNING 1), lapsed AS ({invites} RETURNING 1)
  SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM lapsed)
$$
"""


def upgrade() -> None:
    op.create_index(
        "ix_messages_status_tenant_id_created_at_id",
        "messages",
        ["status", "tenant_id", *map(sa.text, NEWEST_FIRST)],
        postgresql_where=sa.text("status <> 'completed'"),
    )
    op.drop_index("ix_messages_lease_expires_at", "messages")
    for columns in AUDIT_FILTERS:
        op.create_index(_audit_index(columns), "audit_log", ["tenant_id", *columns, *map(sa.text, NEWEST_FIRST)])
    replace_functions(_SOME, planned=BY_INDEX, webhooks=BOUNDED)


def replace_functions(expired: str, planned: str, webhooks: dict[str, str]) -> None:
    """`CREATE OR REPLACE` keeps owner and grants; the definer role needs CREATE for the moment."""
    schema = quoted_schema()
    tables = {
        table: expired.format(schema=schema, table=table) for table in ("idempotency_keys", "sessions", "invites")
    }
    for function, values in (
        (ABANDONED, {"planned": planned}),
        (DUE_WEBHOOKS, webhooks),
        (EXPIRED_KEYS, tables),
        (EXPIRED_CREDENTIALS, tables),
    ):
        op.execute(function.format(schema=schema, **values))


def _audit_index(columns: tuple[str, ...]) -> str:
    return f"ix_audit_log_tenant_id_{'_'.join(columns)}_created_at_id"


def downgrade() -> None:
    replace_functions(_ALL, planned="", webhooks={"claim": "$1", "most": "$2", "planned": ""})
    for columns in AUDIT_FILTERS:
        op.drop_index(_audit_index(columns), "audit_log")
    op.drop_index("ix_messages_status_tenant_id_created_at_id", "messages")
    op.create_index(
        "ix_messages_lease_expires_at", "messages", ["lease_expires_at"], postgresql_where=sa.text("status = 'pending'")
    )
