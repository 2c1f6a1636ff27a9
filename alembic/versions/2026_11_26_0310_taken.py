"""Whether an email or a tenant's name is taken can be asked before a password is hashed.

Revision ID: 0011
Revises: 0010
"""

from alembic import op
from app.db.migration import hand_to_definer, quoted_schema

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None

# They tell no more than inserting does, whose conflict looks across tenants too.
EMAIL_TAKEN = """
CREATE FUNCTION email_taken(email text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT EXISTS (SELECT FROM {schema}.users u WHERE u.email = $1) $$
"""
TENANT_NAME_TAKEN = """
CREATE FUNCTION tenant_name_taken(name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp
AS $$ SELECT EXISTS (SELECT FROM {schema}.tenants t WHERE t.name = $1) $$
"""
FUNCTIONS = {"email_taken(text)": EMAIL_TAKEN, "tenant_name_taken(text)": TENANT_NAME_TAKEN}


def upgrade() -> None:
    schema = quoted_schema()
    for function in FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    op.execute("CREATE POLICY tenant_name_taken ON tenants FOR SELECT TO llm_saas_definer USING (true)")
    hand_to_definer(schema, FUNCTIONS)


def downgrade() -> None:
    op.execute("DROP POLICY tenant_name_taken ON tenants")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
