"""What migrations share: columns of every table, row-level security, handing functions to the definer role, and locks.

A migration runs beside a service that serves. What it cannot lock at once, requests queue behind, so it gives up soon
and comes again: its whole revision, in a transaction of its own, because a transaction that waits keeps what it holds.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from alembic import op
from app.db.roles import DEFINER_ROLE, RUNTIME_ROLE

# Less than a request's statement may wait, and more than the second after which PostgreSQL cancels an autovacuum that
# is in the way. Whatever the login's bound on statements is: to validate or to index takes as long as it takes.
BOUNDS = ("SET LOCAL lock_timeout = '2s'", "SET LOCAL statement_timeout = 0")
# The pauses are so many times as long as there were tries: 45 seconds in all.
LOCK_TRIES, LOCK_PAUSE_SECONDS = 10, 1.0

# By their locks, which every login sees, and when they began, which not every one does. Not the turn to migrate, whose
# number is arbitrary and ours.
TURN = 7_240_318
RUNNING = sa.text(f"""
SELECT held.virtualxid FROM pg_locks held JOIN pg_stat_activity session ON session.pid = held.pid
WHERE held.locktype = 'virtualxid' AND held.granted AND session.datname = current_database()
  AND held.pid <> pg_backend_pid()
  AND held.pid NOT IN (SELECT turn.pid FROM pg_locks turn WHERE turn.locktype = 'advisory' AND turn.objid = {TURN})
""")
LONGEST_WAIT_SECONDS, WAIT_LOOK_SECONDS = 10.0, 0.02


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


@contextmanager
def outside_a_transaction() -> Iterator[None]:
    """For what PostgreSQL refuses inside of one, statement by statement: it commits what the revision did before.

    So it is to be repeatable. A lock that blocks nobody is waited for, however long.
    """
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        try:
            yield
        finally:
            op.execute("RESET statement_timeout")
    for bound in BOUNDS:
        op.execute(bound)


def wait_for_what_runs() -> None:
    """Commit, and wait until every transaction that began before has ended: it may be in a function as it was.

    Between replacing a function and dropping what it read. One that lasts (a dump) is not waited for to its end.
    """
    with outside_a_transaction():
        connection, deadline = op.get_bind(), time.monotonic() + LONGEST_WAIT_SECONDS
        running = set(connection.scalars(RUNNING))
        while running and time.monotonic() < deadline:
            time.sleep(WAIT_LOOK_SECONDS)
            running &= set(connection.scalars(RUNNING))


def create_index_concurrently(name: str, table: str, columns: list[Any], **options: Any) -> None:
    """An index of a table that is in use. What a try that was cut off has left behind is replaced."""
    with outside_a_transaction():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index_concurrently(name: str, table: str) -> None:
    with outside_a_transaction():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
