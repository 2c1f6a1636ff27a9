"""What the audit log says is the transaction's to say; being erased is a state without a way back.

Revision ID: 0005
Revises: 0004
"""

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema
from app.db.roles import REVOKE_TEMPORARY

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None

# Each way of entering says who acts, also where nobody does: what was left on a connection does not count.
ENTER = """
  PERFORM set_config('app.tenant_id', COALESCE($1, ''), true), set_config('app.user_id', {user}, true),
    set_config('app.key_id', {key}, true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('{schema}.messages') THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
"""
NOT_ERASED = "JOIN {schema}.tenants t ON t.id = $1 AND t.erasing_at IS NULL"

ENTER_NOBODY = f"""
CREATE OR REPLACE FUNCTION enter_tenant(tenant_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER.replace("{user}", "''").replace("{key}", "''")}
END $$
"""
ENTER_AS_USER = f"""
CREATE OR REPLACE FUNCTION enter_tenant(tenant_id text, user_id text, role text, token_version integer)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER.replace("{user}", "$2").replace("{key}", "''")}
  IF NOT EXISTS (
    SELECT FROM {{schema}}.users u {NOT_ERASED}
    WHERE u.tenant_id = $1 AND u.id = $2 AND u.role = $3 AND u.token_version = $4 AND u.disabled_at IS NULL
  ) THEN
    RAISE EXCEPTION 'the user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""
ENTER_IN_SESSION = f"""
CREATE OR REPLACE FUNCTION
  enter_tenant(tenant_id text, user_id text, role text, token_version integer, session_id text)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER.replace("{user}", "$2").replace("{key}", "''")}
  IF NOT EXISTS (
    SELECT FROM {{schema}}.sessions s
    JOIN {{schema}}.users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id {NOT_ERASED}
    WHERE s.tenant_id = $1 AND s.id = $5 AND s.expires_at > now() AND u.tenant_id = $1 AND u.id = $2
      AND u.role = $3 AND u.token_version = $4 AND u.disabled_at IS NULL
  ) THEN
    RAISE EXCEPTION 'the session has ended, or its user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""
ENTER_BY_KEY = f"""
CREATE OR REPLACE FUNCTION enter_tenant_by_key(tenant_id text, user_id text, key_id text, as_admin boolean)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER.replace("{user}", "$2").replace("{key}", "$3")}
  IF NOT EXISTS (
    SELECT FROM {{schema}}.api_keys k
    JOIN {{schema}}.users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id {NOT_ERASED}
    WHERE k.tenant_id = $1 AND k.id = $3 AND k.user_id = $2 AND (k.expires_at IS NULL OR k.expires_at > now())
      AND u.tenant_id = $1 AND u.disabled_at IS NULL AND (u.role = 'admin' OR NOT $4)
  ) THEN
    RAISE EXCEPTION 'the key has ended, or its user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""
ENTER_FUNCTIONS = (ENTER_NOBODY, ENTER_AS_USER, ENTER_IN_SESSION, ENTER_BY_KEY)

# Tenant, time and actor are the transaction's, whatever was given. Only where nobody of the tenant acts may the one who
# does be named, as one of those. Who bypasses row-level security (the owner's tools) is not held by this either.
STAMP = """
CREATE FUNCTION stamp_audit_entry() RETURNS trigger LANGUAGE plpgsql
AS $$
DECLARE
  acting_user text := NULLIF(current_setting('app.user_id', true), '');
  acting_key text := NULLIF(current_setting('app.key_id', true), '');
BEGIN
  IF NOT row_security_active(TG_RELID) THEN
    RETURN NEW;
  END IF;
  IF acting_user IS NOT NULL THEN
    NEW.actor_type := CASE WHEN acting_key IS NULL THEN 'user' ELSE 'api_key' END;
  ELSIF NEW.actor_type NOT IN ('anonymous', 'operator') THEN
    RAISE EXCEPTION 'nobody acts in this transaction' USING ERRCODE = '42501';
  END IF;
  NEW.actor_id := acting_user;
  NEW.api_key_id := acting_key;
  NEW.created_at := now();
  RETURN NEW;
END $$
"""
STAMPING = """
CREATE TRIGGER stamp BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION stamp_audit_entry()
"""

# The mark is set by an admin of the transaction's tenant who knows its name, and taken off by nobody: the definer role
# may write a time and never NULL.
BEGIN_ERASURE = """
CREATE FUNCTION begin_erasure(name text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH marked AS (
    UPDATE {schema}.tenants t SET erasing_at = now()
    WHERE t.id = {schema}.app_tenant() AND t.name = $1 AND EXISTS (
      SELECT FROM {schema}.users u
      WHERE u.tenant_id = {schema}.app_tenant() AND u.id = current_setting('app.user_id', true)
        AND u.role = 'admin' AND u.disabled_at IS NULL)
    RETURNING pg_notify('llm_saas_messages', 'erase ' || t.id)
  )
  SELECT EXISTS (SELECT FROM marked)
$$
"""
CONTINUE_ERASURE = """
CREATE FUNCTION continue_erasure() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH renewed AS (
    UPDATE {schema}.tenants t SET erasing_at = now()
    WHERE t.id = {schema}.app_tenant() AND t.erasing_at IS NOT NULL RETURNING 1
  )
  SELECT EXISTS (SELECT FROM renewed)
$$
"""
FINISH_ERASURE = """
CREATE FUNCTION finish_erasure() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH gone AS (
    DELETE FROM {schema}.tenants t WHERE t.id = {schema}.app_tenant() AND t.erasing_at IS NOT NULL
    RETURNING pg_notify('llm_saas_messages', 'erase ' || t.id)
  )
  SELECT EXISTS (SELECT FROM gone)
$$
"""
# Never one that somebody works on: whoever asks for less than a minute of silence gets a minute.
ABANDONED = """
CREATE OR REPLACE FUNCTION claim_abandoned_erasure(silence interval) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  UPDATE {schema}.tenants t SET erasing_at = now()
  FROM (SELECT e.id FROM {schema}.tenants e WHERE e.erasing_at < now() - GREATEST($1, interval '1 minute')
        ORDER BY e.erasing_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) abandoned
  WHERE t.id = abandoned.id RETURNING t.id
$$
"""
# A login looks before it is in a tenant. Inside one, only the user who acts is found: to prove its password anew.
AUTH_LOOKUP = """
CREATE OR REPLACE FUNCTION auth_lookup(email text)
RETURNS TABLE (id text, tenant_id text, role text, token_version integer, hashed_password text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  SELECT u.id, u.tenant_id, u.role, u.token_version, u.hashed_password FROM {schema}.users u
  WHERE u.email = $1 AND u.disabled_at IS NULL AND ({schema}.app_tenant() IS NULL
    OR (u.tenant_id = {schema}.app_tenant() AND u.id = current_setting('app.user_id', true)))
$$
"""
# These keep their owner and who may call them.
REPLACED = (ABANDONED, AUTH_LOOKUP)
NEW_FUNCTIONS = {
    "begin_erasure(text)": BEGIN_ERASURE,
    "continue_erasure()": CONTINUE_ERASURE,
    "finish_erasure()": FINISH_ERASURE,
}

# A tenant that is deleted and made again under its id would have an empty log: the runtime role may do neither, and
# what it makes is as old as it is.
GRANTS = """
REVOKE INSERT ON audit_log FROM llm_saas_app;
GRANT INSERT (id, tenant_id, action, actor_type, target_id, address, request_id, details) ON audit_log TO llm_saas_app;
REVOKE UPDATE (erasing_at), DELETE, INSERT ON tenants FROM llm_saas_app;
GRANT INSERT (id, name) ON tenants TO llm_saas_app;
GRANT SELECT (name), DELETE ON tenants TO llm_saas_definer
"""
UNDO_GRANTS = """
REVOKE INSERT (id, tenant_id, action, actor_type, target_id, address, request_id, details) ON audit_log
  FROM llm_saas_app;
GRANT INSERT ON audit_log TO llm_saas_app;
REVOKE INSERT (id, name) ON tenants FROM llm_saas_app;
GRANT INSERT, UPDATE (erasing_at), DELETE ON tenants TO llm_saas_app;
REVOKE SELECT (name), DELETE ON tenants FROM llm_saas_definer
"""
POLICIES = (
    "CREATE POLICY find_own ON tenants FOR SELECT TO llm_saas_definer USING (id = app_tenant())",
    """CREATE POLICY mark ON tenants FOR UPDATE TO llm_saas_definer
       USING (id = app_tenant()) WITH CHECK (erasing_at IS NOT NULL)""",
)


def upgrade() -> None:
    schema = quoted_schema()
    op.execute(REVOKE_TEMPORARY)
    for function in ENTER_FUNCTIONS:
        op.execute(function.replace("{schema}", schema))
    op.execute(STAMP)
    op.execute("REVOKE ALL ON FUNCTION stamp_audit_entry() FROM PUBLIC")
    op.execute(STAMPING)
    for statement in (*POLICIES, *GRANTS.split(";")):
        op.execute(statement)
    for function in (*REPLACED, *NEW_FUNCTIONS.values()):
        op.execute(function.format(schema=schema))
    hand_to_definer(schema, NEW_FUNCTIONS)


def downgrade() -> None:
    """Give back the rights and take the stamp off. Functions that were replaced stay: they serve the older code too."""
    for function in NEW_FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for policy in ("find_own", "mark"):
        op.execute(f"DROP POLICY {policy} ON tenants")
    op.execute("DROP TRIGGER stamp ON audit_log")
    op.execute("DROP FUNCTION stamp_audit_entry()")
    for statement in UNDO_GRANTS.split(";"):
        op.execute(statement)
