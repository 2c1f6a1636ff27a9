"""Who sees what is decided on entering, and held by row-level security; functions name the schema of what they use.

Revises: 0007
"""

from alembic import op
from app.db.migration import grant_to_runtime, quoted_schema
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None

APP_TENANT = """
CREATE OR REPLACE FUNCTION app_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT NULLIF(pg_catalog.current_setting('app.tenant_id', true), '') $$
"""

# '*' sees all of the tenant; any other value is a user, who sees its own. Where nobody entered it is NULL or '', which
# is no user: nothing is seen.
APP_VIEWER = """
CREATE FUNCTION app_viewer() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.current_setting('app.viewer', true) $$
"""

# Every name has its schema: a temporary table of the same name, left on a pooled connection, would be found first.
# set_config(..., true) lasts for this transaction only, so it is right behind a transaction pooler too. What a form
# does not know is set to '': a value that somebody left in the session must not count. Prepared statements are planned
# once, for any values, and go along an index in its order (ADR 20).
ENTER = """
  PERFORM set_config('app.tenant_id', COALESCE($1, ''), true), set_config('app.user_id', {user}, true),
    set_config('app.key_id', {key}, true), set_config('app.viewer', '*', true),
    set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_seqscan', 'off', true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('{schema}.messages'::regclass) THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
"""

# From the moment that a tenant's erasure begins, nobody enters it. What its users see is read in the same look.
IN_TENANT = "JOIN {schema}.tenants t ON t.id = $1 AND t.erasing_at IS NULL"
SEES_OWN_ALONE = "u.role <> 'admin' AND t.message_visibility = 'own'"

# For work in a tenant that has no caller.
ENTER_TENANT = f"""
CREATE FUNCTION enter_tenant(tenant_id text) RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER}
  RETURN false;
END $$
"""

# True: the caller sees its own messages and conversations alone.
ENTER_AS = f"""
CREATE FUNCTION {{name}} RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER
AS $$ DECLARE own boolean; BEGIN
{ENTER}
  SELECT {{own}} INTO own FROM {{source}} WHERE {{condition}};
  IF own IS NULL THEN
    RAISE EXCEPTION '{{refusal}}' USING ERRCODE = 'LS001';
  END IF;
  IF own THEN
    PERFORM set_config('app.viewer', $2, true);
  END IF;
  RETURN own;
END $$
"""

# For who has no session yet: logging in.
AS_USER = {
    "name": "enter_tenant(tenant_id text, user_id text, role text, token_version integer)",
    "key": "''",
    "own": SEES_OWN_ALONE,
    "source": f"{{schema}}.users u {IN_TENANT}",
    "condition": "u.tenant_id = $1 AND u.id = $2 AND u.role = $3 AND u.token_version = $4 AND u.disabled_at IS NULL",
    "refusal": "the user is gone or changed",
}
IN_SESSION = {
    "name": "enter_tenant(tenant_id text, user_id text, role text, token_version integer, session_id text)",
    "key": "''",
    "own": SEES_OWN_ALONE,
    "source": "{schema}.sessions s JOIN {schema}.users u ON u.tenant_id = s.tenant_id AND u.id = s.user_id"
    f" {IN_TENANT}",
    "condition": f"s.tenant_id = $1 AND s.id = $5 AND s.expires_at > now() AND {AS_USER['condition']}",
    "refusal": "the session has ended, or its user is gone or changed",
}
# A key needs its user, and an admin's key needs it to be an admin still. What it sees goes by what it was made for.
BY_KEY = {
    "name": "enter_tenant_by_key(tenant_id text, user_id text, key_id text, as_admin boolean)",
    "key": "$3",
    "own": "NOT $4 AND t.message_visibility = 'own'",
    "source": "{schema}.api_keys k JOIN {schema}.users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id"
    f" {IN_TENANT}",
    "condition": "k.tenant_id = $1 AND k.id = $3 AND k.user_id = $2 AND (k.expires_at IS NULL OR k.expires_at > now())"
    " AND u.tenant_id = $1 AND u.disabled_at IS NULL AND (u.role = 'admin' OR NOT $4)",
    "refusal": "the key has ended, or its user is gone or changed",
}
CALLERS = (AS_USER, IN_SESSION, BY_KEY)
SIGNATURES = (
    "enter_tenant(text)",
    "enter_tenant(text, text, text, integer)",
    "enter_tenant(text, text, text, integer, text)",
    "enter_tenant_by_key(text, text, text, boolean)",
)

# In a sub-select the viewer is asked for once a statement, not once a row. CASE, which the planner takes for half of
# the rows: of an OR it would expect hardly any, and then read all of a tenant for a page.
SHOWN = "CASE WHEN (SELECT app_viewer()) = '*' THEN true ELSE user_id = (SELECT app_viewer()) END"
VIEWER_TABLES = ("messages", "conversations")
# A delta has no user: its message does. Only reading asks; what writes it has no caller.
DELTAS = """
CREATE POLICY viewer ON message_deltas AS RESTRICTIVE FOR SELECT TO {role} USING (
  CASE WHEN (SELECT app_viewer()) = '*' THEN true ELSE EXISTS (
    SELECT FROM messages m WHERE m.tenant_id = message_deltas.tenant_id AND m.id = message_deltas.message_id) END)
"""

# As in revision 0002, with the schema on every name.
WRITE_DELTAS = """
CREATE OR REPLACE FUNCTION write_deltas(batch jsonb, notices text[])
RETURNS SETOF text LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE entry jsonb;
BEGIN
  FOR entry IN SELECT jsonb_array_elements(batch) LOOP
    PERFORM set_config('app.tenant_id', entry->>'tenant_id', true);
    -- What was written by a commit that nobody confirmed is written again.
    INSERT INTO {prefix}message_deltas (tenant_id, message_id, attempt, start, text)
      SELECT m.tenant_id, m.id, d.attempt, d.start, d.text
      FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int, start int, text text)
      CROSS JOIN LATERAL (
        SELECT * FROM {prefix}messages messages
        WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m
      WHERE m.status = 'pending' AND m.attempts = d.attempt AND d.text <> ''
      ON CONFLICT ON CONSTRAINT pk_message_deltas DO UPDATE SET text = excluded.text;
    RETURN QUERY
      SELECT d.id FROM jsonb_to_recordset(entry->'deltas') AS d (id text, attempt int)
      LEFT JOIN LATERAL (
        SELECT * FROM {prefix}messages messages
        WHERE messages.tenant_id = entry->>'tenant_id' AND messages.id = d.id LIMIT 1
      ) AS m ON true
      WHERE m.id IS NULL OR m.cancel_requested OR m.status <> 'pending' OR m.attempts <> d.attempt;
  END LOOP;
  PERFORM set_config('app.tenant_id', '', true);
  PERFORM pg_notify('llm_saas_messages', notice) FROM unnest(notices) AS notice;
END $$
"""

OLD_APP_TENANT = APP_TENANT.replace("pg_catalog.", "")
OLD_ENTER = ENTER.replace(", set_config('app.viewer', '*', true)", "").replace(
    "set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_bitmapscan', 'off', true),\n"
    "    set_config('enable_seqscan', 'off', true), ",
    "    ",
)
OLD_ENTER_TENANT = f"""
CREATE FUNCTION enter_tenant(tenant_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{OLD_ENTER}
END $$
"""
OLD_ENTER_AS = f"""
CREATE FUNCTION {{name}} RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{OLD_ENTER}
  IF NOT EXISTS (SELECT FROM {{source}} WHERE {{condition}}) THEN
    RAISE EXCEPTION '{{refusal}}' USING ERRCODE = 'LS001';
  END IF;
END $$
"""


def upgrade() -> None:
    schema = quoted_schema()
    op.execute(APP_TENANT)
    op.execute(APP_VIEWER)
    grant_to_runtime(["app_viewer()"])
    op.execute(f"GRANT EXECUTE ON FUNCTION app_viewer() TO {DEFINER_ROLE}")
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute(ENTER_TENANT.format(schema=schema, user="''", key="''"))
    for caller in CALLERS:
        # Twice: what is filled in holds the schema's place again.
        op.execute(ENTER_AS.format(user="$2", schema="{schema}", **caller).format(schema=schema))
    grant_to_runtime(SIGNATURES)
    op.execute(WRITE_DELTAS.format(prefix=f"{schema}."))
    for table in VIEWER_TABLES:
        op.execute(f"CREATE POLICY viewer ON {table} AS RESTRICTIVE TO {RUNTIME_ROLE} USING ({SHOWN})")
    op.execute(DELTAS.format(role=RUNTIME_ROLE))
    # What finds text is a bitmap, or nothing.
    op.execute("ALTER FUNCTION search_messages(text) SET enable_bitmapscan = on")


def downgrade() -> None:
    schema = quoted_schema()
    op.execute("ALTER FUNCTION search_messages(text) RESET enable_bitmapscan")
    for table in (*VIEWER_TABLES, "message_deltas"):
        op.execute(f"DROP POLICY viewer ON {table}")
    op.execute(WRITE_DELTAS.format(prefix=""))
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute(OLD_ENTER_TENANT.format(schema=schema, user="''", key="''"))
    for caller in CALLERS:
        op.execute(OLD_ENTER_AS.format(user="$2", schema="{schema}", **caller).format(schema=schema))
    grant_to_runtime(SIGNATURES)
    op.execute("DROP FUNCTION app_viewer()")
    op.execute(OLD_APP_TENANT)
