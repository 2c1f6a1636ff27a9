"""Initial schema: tables, roles, row-level security, and the functions that enter a tenant.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa

from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

# Roles belong to the cluster, not to the database: they may exist already, made by a neighbour of ours.
CREATE_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""

# A superuser may become any role. A plain owner with CREATEROLE must be a member, and may make itself one of the roles
# that it created (or, before PostgreSQL 16, of any).
JOIN_ROLE = """
DO $$ BEGIN
  IF NOT pg_has_role(current_user, '{role}', 'MEMBER')
     OR NOT (SELECT r.rolsuper OR EXISTS (
               SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
               WHERE g.rolname = '{role}' AND m.member = r.oid AND {usable})
             FROM pg_roles r WHERE r.rolname = current_user)
  THEN
    GRANT {role} TO CURRENT_USER;
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE EXCEPTION 'role {role} exists and % is not a member of it', current_user
    USING HINT = 'Another database of this cluster made it. As its administrator run: GRANT {role} TO '
                 || quote_ident(current_user) || ' WITH ADMIN OPTION';
END $$
"""

POLICIES = {
    "tenants": "id = app_tenant()",
    "users": "tenant_id = app_tenant()",
    "messages": "tenant_id = app_tenant()",
}

APP_TENANT = """
CREATE FUNCTION app_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT NULLIF(current_setting('app.tenant_id', true), '') $$
"""

# SECURITY INVOKER: a definer function may not set the role. set_config(..., true) lasts for this transaction only, so
# it is right behind a transaction pooler too.
ENTER_TENANT = """
CREATE FUNCTION enter_tenant(tenant_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
  PERFORM set_config('app.tenant_id', COALESCE($1, ''), true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('messages') THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
END $$
"""

ENTER_TENANT_AS = """
CREATE FUNCTION enter_tenant(tenant_id text, user_id text, role text, token_version integer)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER
AS $$ BEGIN
  PERFORM set_config('app.tenant_id', $1, true), set_config('role', 'llm_saas_app', true);
  IF NOT row_security_active('messages') THEN
    RAISE EXCEPTION 'row-level security is not active' USING ERRCODE = 'LS002';
  END IF;
  IF NOT EXISTS (
    SELECT FROM users u WHERE u.tenant_id = $1 AND u.id = $2 AND u.role = $3 AND u.token_version = $4
  ) THEN
    RAISE EXCEPTION 'the user is gone or changed' USING ERRCODE = 'LS001';
  END IF;
END $$
"""

# The one look-up across tenants that logging in needs: by exact email, at most one row.
AUTH_LOOKUP = """
CREATE FUNCTION auth_lookup(email text)
RETURNS TABLE (id text, tenant_id text, role text, token_version integer, hashed_password text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT u.id, u.tenant_id, u.role, u.token_version, u.hashed_password FROM {schema}.users u WHERE u.email = $1 $$
"""

# Ends what a killed process left pending, over all tenants; it returns a count and no row.
SWEEP = """
CREATE FUNCTION sweep_abandoned_messages() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$
  WITH abandoned AS (
    SELECT m.id FROM {schema}.messages m
    WHERE m.status = 'pending' AND m.lease_expires_at < now() LIMIT 1000 FOR UPDATE SKIP LOCKED
  ), swept AS (
    UPDATE {schema}.messages m
    SET status = 'failed', error_code = 'interrupted', lease_expires_at = NULL, updated_at = now()
    FROM abandoned WHERE m.id = abandoned.id RETURNING 1
  )
  SELECT count(*) FROM swept
$$
"""

DEFINER_FUNCTIONS = ("auth_lookup(text)", "sweep_abandoned_messages()")
ENTER_FUNCTIONS = ("app_tenant()", "enter_tenant(text)", "enter_tenant(text, text, text, integer)")

GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO llm_saas_app, llm_saas_definer;
GRANT SELECT, INSERT ON tenants TO llm_saas_app;
GRANT SELECT (id, email, role, tenant_id, token_version, created_at, updated_at) ON users TO llm_saas_app;
GRANT INSERT ON users TO llm_saas_app;
GRANT UPDATE (hashed_password, updated_at) ON users TO llm_saas_app;
GRANT SELECT, INSERT, DELETE ON messages TO llm_saas_app;
GRANT UPDATE (response, status, error_code, model, input_tokens, output_tokens, lease_expires_at, updated_at)
  ON messages TO llm_saas_app;
GRANT SELECT (id, email, role, tenant_id, token_version, hashed_password) ON users TO llm_saas_definer;
GRANT SELECT (id, status, lease_expires_at) ON messages TO llm_saas_definer;
GRANT UPDATE (status, error_code, lease_expires_at, updated_at) ON messages TO llm_saas_definer
"""


def upgrade() -> None:
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote(connection.scalar(sa.text("SELECT current_schema()")))
    version = connection.scalar(sa.text("SELECT current_setting('server_version_num')::int"))
    create_roles(version)
    create_tables()
    enable_row_level_security()
    create_functions(schema)
    for grant in GRANTS.format(schema=schema).split(";"):
        op.execute(grant)


def create_roles(version: int) -> None:
    # From PostgreSQL 16 on, membership alone is not enough to take a role: it needs the SET option.
    usable = "m.set_option" if version >= 160000 else "true"
    for role in ("llm_saas_app", "llm_saas_definer"):
        op.execute(CREATE_ROLE.format(role=role))
        op.execute(JOIN_ROLE.format(role=role, usable=usable))


def create_tables() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("hashed_password", sa.String(255), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("token_version", sa.Integer(), server_default="0", nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_users_tenant_id_id"),
        sa.CheckConstraint("role IN ('admin', 'user')", name="ck_users_role"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE", name="fk_users_tenant_id"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), server_default="", nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("error_code", sa.String(50)),
        sa.Column("model", sa.String(255)),
        sa.Column("input_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.CheckConstraint("status IN ('pending', 'completed', 'failed', 'cancelled')", name="ck_messages_status"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE", name="fk_messages_tenant_id"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.id"],
            ondelete="CASCADE",
            name="fk_messages_tenant_id_user_id",
        ),
    )
    newest_first = ["tenant_id", sa.text("created_at DESC"), sa.text("id DESC")]
    op.create_index("ix_users_tenant_id_created_at_id", "users", newest_first)
    op.create_index("ix_messages_tenant_id_created_at_id", "messages", newest_first)
    op.create_index(
        "ix_messages_tenant_id_user_id_created_at_id",
        "messages",
        ["tenant_id", "user_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index(
        "ix_messages_lease_expires_at",
        "messages",
        ["lease_expires_at"],
        postgresql_where=sa.text("status = 'pending'"),
    )


def timestamps() -> list[sa.Column]:
    return [
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    ]


def enable_row_level_security() -> None:
    op.execute(APP_TENANT)
    for table, condition in POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON {table} TO llm_saas_app USING ({condition}) WITH CHECK ({condition})"
        )
    op.execute("CREATE POLICY auth_lookup ON users FOR SELECT TO llm_saas_definer USING (true)")
    op.execute(
        "CREATE POLICY sweep_read ON messages FOR SELECT TO llm_saas_definer USING (status IN ('pending', 'failed'))"
    )
    op.execute(
        "CREATE POLICY sweep_write ON messages FOR UPDATE TO llm_saas_definer"
        " USING (status = 'pending') WITH CHECK (status = 'failed')"
    )


def create_functions(schema: str) -> None:
    op.execute(ENTER_TENANT)
    op.execute(ENTER_TENANT_AS)
    op.execute(AUTH_LOOKUP.format(schema=schema))
    op.execute(SWEEP.format(schema=schema))
    # The new owner of a function needs CREATE on the schema, for the moment of the change only.
    op.execute(f"GRANT CREATE ON SCHEMA {schema} TO llm_saas_definer")
    for function in DEFINER_FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} OWNER TO llm_saas_definer")
    op.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM llm_saas_definer")
    for function in ENTER_FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO llm_saas_app")
    # Only their owner may grant what is theirs.
    op.execute("SET LOCAL ROLE llm_saas_definer")
    for function in DEFINER_FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO llm_saas_app")
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Drop all but the roles, which other databases of the cluster may use."""
    for table in ("messages", "users", "tenants"):
        op.execute(f"DROP TABLE {table} CASCADE")
    for function in (*DEFINER_FUNCTIONS, *reversed(ENTER_FUNCTIONS)):
        op.execute(f"DROP FUNCTION {function}")
