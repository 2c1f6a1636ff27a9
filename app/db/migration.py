"""What migrations share: columns of every table, row-level security, and handing functions to the definer role."""

from collections.abc import Iterable

import sqlalchemy as sa

from alembic import op
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE


def quoted_schema() -> str:
    """The schema that is migrated, quoted for SQL."""
    connection = op.get_bind()
    return connection.dialect.identifier_preparer.quote(connection.scalar(sa.text("SELECT current_schema()")))


def timestamps() -> list[sa.Column[object]]:
    return [
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    ]


def owner(*, user_optional: bool = False) -> list[sa.Column[object]]:
    """Whose row it is."""
    return [
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=user_optional),
    ]


def tenant_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE", name=f"fk_{table}_tenant_id")


def owner_keys(table: str) -> list[sa.ForeignKeyConstraint]:
    """The user's key carries the tenant: a plain one would accept another tenant's user."""
    return [
        tenant_key(table),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.id"],
            ondelete="CASCADE",
            name=f"fk_{table}_tenant_id_user_id",
        ),
    ]


def isolate(table: str) -> None:
    """Force row-level security on the table: the runtime role sees the rows of the tenant that it entered."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant_isolation ON {table} TO {RUNTIME_ROLE}"
        " USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())"
    )


def grant_to_runtime(functions: Iterable[str]) -> None:
    for function in functions:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {RUNTIME_ROLE}")


def hand_to_definer(schema: str, functions: Iterable[str]) -> None:
    """Make the definer role the owner of SECURITY DEFINER functions, which the runtime role alone may call."""
    functions = tuple(functions)
    # The new owner of a function needs CREATE on the schema, for the moment of the change only.
    op.execute(f"GRANT CREATE ON SCHEMA {schema} TO {DEFINER_ROLE}")
    for function in functions:
        op.execute(f"ALTER FUNCTION {function} OWNER TO {DEFINER_ROLE}")
    op.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM {DEFINER_ROLE}")
    # Only their owner may grant what is theirs.
    op.execute(f"SET LOCAL ROLE {DEFINER_ROLE}")
    grant_to_runtime(functions)
    op.execute("RESET ROLE")
