"""A tenant that moves to another region is read alone for a moment, and nobody enters its copy before all is there.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa

from alembic import op
from app.db.migration import quoted_schema, wait_for_what_runs

revision: str = "0028"
down_revision: str | None = "0027"
# squawk: constraint-missing-not-valid, of a column that is new: a look at the few rows of `tenants`
branch_labels = None
depends_on = None

# As revision 0008 has it.
ENTER = """
  PERFORM set_config('app.tenant_id', COALESCE($1, ''), true), set_config('app.user_id', {user}, true),
    set_config('app.key_id', {key}, true), set_config('app.viewer', '*', true),
    set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_seqscan', 'off', true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('{schema}.messages'::regclass) THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
"""

# For work without a caller: it may end what was begun while the tenant is `leaving`, and nothing once it is `frozen`.
# What erases the copy that stays behind is let in.
BARRED = """
  IF $1 IS NOT NULL AND EXISTS (
    SELECT FROM {schema}.tenants t WHERE t.id = $1 AND t.moving <> 'leaving' AND t.moving_until > now()
      AND t.erasing_at IS NULL
  ) THEN
    RAISE EXCEPTION 'the tenant is moving' USING ERRCODE = 'LS006';
  END IF;
"""
ENTER_TENANT = f"""
CREATE OR REPLACE FUNCTION enter_tenant(tenant_id text) RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
{ENTER}
{{barred}}
  RETURN false;
END $$
"""

IN_TENANT = "JOIN {schema}.tenants t ON t.id = $1 AND t.erasing_at IS NULL"
SEES_OWN_ALONE = "u.role <> 'admin' AND t.message_visibility = 'own'"
# A caller reads on. The warning tells the client why what it writes is refused.
READS_ALONE = """
  IF until > now() THEN
    IF move = 'arriving' THEN
      RAISE EXCEPTION 'the tenant is moving' USING ERRCODE = 'LS006';
    END IF;
    PERFORM set_config('transaction_read_only', 'on', true);
    RAISE WARNING 'the tenant is moving' USING ERRCODE = 'LS006';
  END IF;
"""
ENTER_AS = f"""
CREATE OR REPLACE FUNCTION {{name}} RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER
AS $$ DECLARE own boolean;{{declared}} BEGIN
{ENTER}
  SELECT {{own}}{{selected}} INTO own{{into}} FROM {{source}} WHERE {{condition}};
  IF own IS NULL THEN
    RAISE EXCEPTION '{{refusal}}' USING ERRCODE = 'LS001';
  END IF;
{{reads}}
  IF own THEN
    PERFORM set_config('app.viewer', $2, true);
  END IF;
  RETURN own;
END $$
"""
MOVING = {
    "declared": " move text; until timestamptz;",
    "selected": ", t.moving, t.moving_until",
    "into": ", move, until",
    "reads": READS_ALONE,
}
STAYING = dict.fromkeys(MOVING, "")

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


def upgrade() -> None:
    op.add_column("tenants", sa.Column("moving", sa.String(10)))
    op.add_column("tenants", sa.Column("moving_until", sa.DateTime(timezone=True)))
    op.execute(
        "ALTER TABLE tenants ADD CONSTRAINT ck_tenants_moving CHECK (moving IN ('leaving', 'frozen', 'arriving'))"
    )
    replace_functions(MOVING, BARRED)


def replace_functions(way: dict[str, str], barred: str) -> None:
    schema = quoted_schema()
    # Twice: what is filled in holds the schema's place again.
    without_caller = ENTER_TENANT.format(schema="{schema}", user="''", key="''", barred=barred)
    op.execute(without_caller.format(schema=schema))
    for caller in CALLERS:
        op.execute(ENTER_AS.format(user="$2", schema="{schema}", **caller, **way).format(schema=schema))


def downgrade() -> None:
    """A tenant that was being moved is as if nobody had asked for it."""
    replace_functions(STAYING, "")
    wait_for_what_runs()  # in the functions that read the columns
    op.execute("ALTER TABLE tenants DROP CONSTRAINT ck_tenants_moving")
    for column in ("moving_until", "moving"):
        op.drop_column("tenants", column)
