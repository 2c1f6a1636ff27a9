"""Sessions that can be ended, API keys, invites, disabled users, tenant settings, and the audit log.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op
from app.db.migration import (
    grant_to_runtime,
    hand_to_definer,
    isolate,
    owner,
    owner_keys,
    quoted_schema,
    tenant_key,
    timestamps,
)

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

NEW_TABLES = ("sessions", "api_keys", "invites", "audit_log")

# Each way of entering begins like this (see the initial schema).
ENTER = """
  PERFORM set_config('app.tenant_id', $1, true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('messages') THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
"""

# From the moment that a tenant's erasure begins, nobody enters it. Joined, it costs a third of an EXISTS of its own.
NOT_ERASED = "JOIN tenants t ON t.id = $1 AND t.erasing_at IS NULL"

# For who has no session yet: logging in.
ENTER_AS_USER = f"""
CREATE FUNCTION enter_tenant(tenant_id text, user_id text, role text, token_version integer)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER}
  IF NOT EXISTS (
    SELECT FROM users u {NOT_ERASED}
    WHERE u.tenant_id = $1 AND u.id = $2 AND u.role = $3 AND u.token_version = $4 AND u.disabled_at IS NULL
  ) THEN
    RAISE EXCEPTION 'the user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""

ENTER_IN_SESSION = f"""
CREATE FUNCTION enter_tenant(tenant_id text, user_id text, role text, token_version integer, session_id text)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER}
  IF NOT EXISTS (
    SELECT FROM sessions s JOIN users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id {NOT_ERASED}
    WHERE s.tenant_id = $1 AND s.id = $5 AND s.expires_at > now() AND u.tenant_id = $1 AND u.id = $2
      AND u.role = $3 AND u.token_version = $4 AND u.disabled_at IS NULL
  ) THEN
    RAISE EXCEPTION 'the session has ended, or its user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""

# A key needs its user, and an admin's key needs it to be an admin still.
ENTER_BY_KEY = f"""
CREATE FUNCTION enter_tenant_by_key(tenant_id text, user_id text, key_id text, as_admin boolean)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER}
  IF NOT EXISTS (
    SELECT FROM api_keys k JOIN users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id {NOT_ERASED}
    WHERE k.tenant_id = $1 AND k.id = $3 AND k.user_id = $2 AND (k.expires_at IS NULL OR k.expires_at > now())
      AND u.tenant_id = $1 AND u.disabled_at IS NULL AND (u.role = 'admin' OR NOT $4)
  ) THEN
    RAISE EXCEPTION 'the key has ended, or its user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""
ENTER_FUNCTIONS = {
    "enter_tenant(text, text, text, integer)": ENTER_AS_USER,
    "enter_tenant(text, text, text, integer, text)": ENTER_IN_SESSION,
    "enter_tenant_by_key(text, text, text, boolean)": ENTER_BY_KEY,
}

# The look-ups across tenants: by exact email, session or hash of a key, at most one row each.
AUTH_LOOKUP = """
CREATE FUNCTION auth_lookup(email text)
RETURNS TABLE (id text, tenant_id text, role text, token_version integer, hashed_password text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT u.id, u.tenant_id, u.role, u.token_version, u.hashed_password FROM {schema}.users u
  WHERE u.email = $1 {condition}
$$
"""
NOT_DISABLED = "AND u.disabled_at IS NULL"

SESSION_LOOKUP = """
CREATE FUNCTION session_lookup(session_id text)
RETURNS TABLE (user_id text, tenant_id text, role text, token_version integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT u.id, u.tenant_id, u.role, u.token_version
  FROM {schema}.sessions s JOIN {schema}.users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id
  WHERE s.id = $1
$$
"""

API_KEY_LOOKUP = """
CREATE FUNCTION api_key_lookup(key_hash text)
RETURNS TABLE (id text, tenant_id text, user_id text, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT k.id, k.tenant_id, k.user_id, k.scopes FROM {schema}.api_keys k WHERE k.key_hash = $1 $$
"""

EXPIRED = """
CREATE FUNCTION delete_expired_credentials() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH ended AS (DELETE FROM {schema}.sessions s WHERE s.expires_at < now() RETURNING 1),
       lapsed AS (DELETE FROM {schema}.invites i WHERE i.expires_at < now() RETURNING 1)
  SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM lapsed)
$$
"""
DEFINER_FUNCTIONS = {
    "auth_lookup(text)": AUTH_LOOKUP,
    "session_lookup(text)": SESSION_LOOKUP,
    "api_key_lookup(text)": API_KEY_LOOKUP,
    "delete_expired_credentials()": EXPIRED,
}

# Nobody but the owner may change or delete what stands in the audit log; it goes with its tenant.
GRANTS = """
GRANT SELECT (disabled_at) ON users TO llm_saas_app, llm_saas_definer;
GRANT UPDATE (role, token_version, disabled_at), DELETE ON users TO llm_saas_app;
GRANT UPDATE (name, registration, message_visibility, updated_at), DELETE ON tenants TO llm_saas_app;
GRANT SELECT, INSERT, DELETE ON sessions, api_keys, invites TO llm_saas_app;
GRANT UPDATE (token_hash, previous_hash, rotated_at, expires_at, updated_at) ON sessions TO llm_saas_app;
GRANT UPDATE (last_used_at) ON api_keys TO llm_saas_app;
GRANT UPDATE (id, user_id, token_hash, expires_at, created_at, updated_at) ON invites TO llm_saas_app;
GRANT SELECT, INSERT ON audit_log TO llm_saas_app;
GRANT SELECT (id, tenant_id, user_id, expires_at), DELETE ON sessions TO llm_saas_definer;
GRANT SELECT (id, tenant_id, user_id, key_hash, scopes) ON api_keys TO llm_saas_definer;
GRANT SELECT (expires_at), DELETE ON invites TO llm_saas_definer
"""

DEFINER_POLICIES = (
    "CREATE POLICY session_lookup ON sessions FOR SELECT TO llm_saas_definer USING (true)",
    "CREATE POLICY delete_expired ON sessions FOR DELETE TO llm_saas_definer USING (expires_at < now())",
    "CREATE POLICY api_key_lookup ON api_keys FOR SELECT TO llm_saas_definer USING (true)",
    "CREATE POLICY read_expired ON invites FOR SELECT TO llm_saas_definer USING (expires_at < now())",
    "CREATE POLICY delete_expired ON invites FOR DELETE TO llm_saas_definer USING (expires_at < now())",
)


def upgrade() -> None:
    schema = quoted_schema()
    extend_tables()
    create_tables()
    for table in NEW_TABLES:
        isolate(table)
    for policy in DEFINER_POLICIES:
        op.execute(policy)
    for grant in GRANTS.split(";"):
        op.execute(grant)
    op.execute("DROP FUNCTION enter_tenant(text, text, text, integer)")
    op.execute("DROP FUNCTION auth_lookup(text)")
    for function in ENTER_FUNCTIONS.values():
        op.execute(function)
    grant_to_runtime(ENTER_FUNCTIONS)
    for function in DEFINER_FUNCTIONS.values():
        op.execute(function.format(schema=schema, condition=NOT_DISABLED))
    hand_to_definer(schema, DEFINER_FUNCTIONS)


def extend_tables() -> None:
    op.add_column("users", sa.Column("disabled_at", sa.DateTime(timezone=True)))
    op.add_column("tenants", sa.Column("erasing_at", sa.DateTime(timezone=True)))
    op.add_column("tenants", sa.Column("registration", sa.String(20), server_default="open", nullable=False))
    op.add_column("tenants", sa.Column("message_visibility", sa.String(20), server_default="tenant", nullable=False))
    op.create_check_constraint(
        op.f("ck_tenants_registration"), "tenants", "registration IN ('open', 'invite', 'closed')"
    )
    op.create_check_constraint(
        op.f("ck_tenants_message_visibility"), "tenants", "message_visibility IN ('tenant', 'own')"
    )


def create_tables() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64)),
        sa.Column("rotated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        *owner_keys("sessions"),
    )
    op.create_index("ix_sessions_tenant_id_user_id", "sessions", ["tenant_id", "user_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("prefix", sa.String(20), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("scopes", ARRAY(sa.String(50)), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
        *owner_keys("api_keys"),
    )
    op.create_table(
        "invites",
        sa.Column("id", sa.String(36), nullable=False),
        *owner(),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_invites"),
        sa.UniqueConstraint("tenant_id", "email", name="uq_invites_tenant_id_email"),
        *owner_keys("invites"),
    )
    op.create_index("ix_invites_expires_at", "invites", ["expires_at"])
    # No key to users: an entry outlives who it names.
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("actor_type", sa.String(20), nullable=False),
        sa.Column("actor_id", sa.String(36)),
        sa.Column("api_key_id", sa.String(36)),
        sa.Column("target_id", sa.String(36)),
        sa.Column("address", sa.String(45)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("details", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        tenant_key("audit_log"),
    )
    newest_first = ["tenant_id", sa.text("created_at DESC"), sa.text("id DESC")]
    for table in ("api_keys", "invites", "audit_log"):
        op.create_index(f"ix_{table}_tenant_id_created_at_id", table, newest_first)
    # For users who see their own alone, and for what goes with a deleted user.
    own_newest_first = ["tenant_id", "user_id", *newest_first[1:]]
    op.create_index("ix_conversations_tenant_id_user_id_created_at_id", "conversations", own_newest_first)


def downgrade() -> None:
    """Drop what this revision made, with the data in it."""
    schema = quoted_schema()
    for function in (*DEFINER_FUNCTIONS, *ENTER_FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.drop_index("ix_conversations_tenant_id_user_id_created_at_id", "conversations")
    for column in ("registration", "message_visibility", "erasing_at"):
        op.drop_column("tenants", column)
    op.drop_column("users", "disabled_at")
    op.execute("REVOKE UPDATE (role, token_version), DELETE ON users FROM llm_saas_app")
    op.execute("REVOKE UPDATE (name, updated_at), DELETE ON tenants FROM llm_saas_app")
    # As the revisions before had it: without the columns that are gone.
    op.execute(ENTER_AS_USER.replace("AND u.disabled_at IS NULL", "").replace(NOT_ERASED, ""))
    grant_to_runtime(["enter_tenant(text, text, text, integer)"])
    op.execute(AUTH_LOOKUP.format(schema=schema, condition=""))
    hand_to_definer(schema, ["auth_lookup(text)"])
