"""Copying a tenant's rows from one region's database to another's, by logins that row-level security does not hold.

A pass copies what changed since the one before it began, as one snapshot shows it, and deletes what that has no more.
What changed is told by the transaction that wrote each row (`xmin`): it needs no column, no trigger and no replication.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import Column, Table
from sqlalchemy.dialects.postgresql import TSVECTOR

from app.db.connection import LiveConnection, connect_arguments
from app.db.execution import DIALECT
from app.db.vectors import HalfVector, SparseVector
from app.models import Base, Tenant

BATCH_ROWS = 1000
# What a move itself sets.
OF_THE_MOVE = {"moving", "moving_until"}
# What outlives its time is deleted in each region by itself.
EXPIRING = {"sessions", "invites", "idempotency_keys"}
# A message that runs, and one whose webhook is due, would be worked on in both places: they go with the last pass.
AT_REST = "t.status <> 'pending' AND t.webhook_due_at IS NULL"
# Of many rows: what was deleted is looked for only where the numbers say that something was.
LARGE = {
    "messages", "message_contents", "conversations", "audit_log", "deleted_usage", "search_blocks", "usage_days",
    "embedding_hours", "document_chunks", "chunk_vectors", "chunk_terms", "term_frequencies",
}  # fmt: skip
# Types for which the driver has no binary form.
AS_TEXT = (TSVECTOR, HalfVector, SparseVector)
# Made of other rows: after them.
DERIVED = {"budgets", "period_budgets", "usage_days", "usage_ends", "search_blocks"}
# Not its tables' owner alone: row-level security is forced on that one as well.
IS_FREE = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"


class Diverged(Exception):
    """The copy is not what it was made of."""


@asynccontextmanager
async def owners_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Of the login that migrates; its statements may take as long as they take."""
    connection = await asyncpg.connect(**connect_arguments(url), connection_class=LiveConnection)
    try:
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        yield connection
    finally:
        connection.terminate()


def tables() -> list[Table]:
    """All that a tenant owns, parents before their children."""
    owned = [
        table
        for table in Base.metadata.sorted_tables
        if "tenant_id" in table.c and not table.name.startswith("directory_")
    ]
    return [cast("Table", Tenant.__table__), *sorted(owned, key=lambda table: table.name in DERIVED)]


async def copy_pass(
    source: asyncpg.Connection, target: asyncpg.Connection, tenant_id: str, since: int | None, *, last: bool
) -> tuple[int, int]:
    """Copy what changed since the transaction `since` (None: everything); how many rows, and where to go on from.

    The last pass copies what is not at rest too, and raises `Diverged` unless each table has as many rows as its
    source; nobody may write meanwhile.
    """
    copied = 0
    async with source.transaction(isolation="repeatable_read", readonly=True):
        until = await source.fetchval("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint")
        owned = [_Copied(table, source, target, tenant_id) for table in tables()]
        # First what is gone: who came in its place may have the same email.
        for table in reversed(owned):
            if table.name not in LARGE:
                await table.delete_vanished()
        for table in owned:
            copied += await table.copy_changed(since, last=last)
        for table in reversed(owned) if last else ():
            if table.name in LARGE and not await table.is_complete():
                await table.delete_vanished()
        for table in owned if last else ():
            if not await table.is_complete():
                raise Diverged(f"the copy of {table.name} is not complete")
    return copied, until


class _Copied:
    """A table of the tenant in both places."""

    def __init__(self, table: Table, source: asyncpg.Connection, target: asyncpg.Connection, tenant_id: str) -> None:
        self.name = table.name
        self._source, self._target = source, target
        self._tenant_id = tenant_id
        self._tenant = "id" if self.name == "tenants" else "tenant_id"
        self._key = [column.name for column in table.primary_key]
        # Those that are stored as they are given.
        self._columns = [column for column in table.c if column.computed is None and column.name not in OF_THE_MOVE]

    async def copy_changed(self, since: int | None, *, last: bool) -> int:
        conditions = [f"t.{self._tenant} = $1"]
        if since is not None:
            # From a transaction on that had not ended: rows may be copied twice, and none is left out.
            changed = f"age(t.xmin) <= age('{since}'::xid8::xid)"
            conditions.append(f"({changed} OR NOT ({AT_REST}))" if last and self.name == "messages" else changed)
        if self.name == "messages" and not last:
            conditions.append(AT_REST)
        shown = ", ".join(_shown(column) for column in self._columns)
        query = f"SELECT {shown} FROM {self.name} t WHERE {' AND '.join(conditions)}"  # noqa: S608
        copied = 0
        async with _stage(self._target, f"SELECT {shown} FROM {self.name} t"):  # noqa: S608
            cursor = await self._source.cursor(query, self._tenant_id)
            while rows := await cursor.fetch(BATCH_ROWS):
                await self._store(rows)
                copied += len(rows)
        return copied

    async def _store(self, rows: list[asyncpg.Record]) -> None:
        names = [column.name for column in self._columns]
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in self._key)
        given, staged = ", ".join(f'"{name}"' for name in names), ", ".join(_stored(column) for column in self._columns)
        if self.name == "tenants":  # nobody enters before all is there
            given += ", moving, moving_until"
            staged += ", 'arriving', 'infinity'::timestamptz"
        async with self._target.transaction():
            await self._target.copy_records_to_table("stage", records=rows, columns=names)
            await self._target.execute(
                f"INSERT INTO {self.name} ({given}) SELECT {staged} FROM stage"  # noqa: S608
                f" ON CONFLICT ({', '.join(self._key)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
            )

    async def delete_vanished(self) -> None:
        """What the copy has and its source has no more."""
        if self.name == "tenants" or not await self._count(self._target):
            return
        key = ", ".join(self._key)
        async with self._target.transaction(), _stage(self._target, f"SELECT {key} FROM {self.name}"):  # noqa: S608
            query = f"SELECT {key} FROM {self.name} WHERE tenant_id = $1"  # noqa: S608
            cursor = await self._source.cursor(query, self._tenant_id)
            while rows := await cursor.fetch(10 * BATCH_ROWS):
                await self._target.copy_records_to_table("stage", records=rows, columns=self._key)
            same = " AND ".join(f"s.{name} = t.{name}" for name in self._key)
            await self._target.execute(
                f"DELETE FROM {self.name} t WHERE t.tenant_id = $1"  # noqa: S608
                f" AND NOT EXISTS (SELECT FROM stage s WHERE {same})",
                self._tenant_id,
            )

    async def is_complete(self) -> bool:
        there, here = await self._count(self._source), await self._count(self._target)
        return there == here or (self.name in EXPIRING and here < there)

    async def _count(self, connection: asyncpg.Connection) -> int:
        query = f"SELECT count(*) FROM {self.name} WHERE {self._tenant} = $1"  # noqa: S608
        count: int = await connection.fetchval(query, self._tenant_id)
        return count


@asynccontextmanager
async def _stage(connection: asyncpg.Connection, query: str) -> AsyncIterator[None]:
    """A temporary table `stage` as the query's rows are; it is emptied with each transaction."""
    await connection.execute("DROP TABLE IF EXISTS pg_temp.stage")
    await connection.execute(f"CREATE TEMPORARY TABLE stage ON COMMIT DELETE ROWS AS {query} LIMIT 0")
    yield
    await connection.execute("DROP TABLE IF EXISTS pg_temp.stage")


def _shown(column: Column[Any]) -> str:
    return f't."{column.name}"::text AS "{column.name}"' if isinstance(column.type, AS_TEXT) else f't."{column.name}"'


def _stored(column: Column[Any]) -> str:
    kind = column.type.compile(DIALECT) if isinstance(column.type, AS_TEXT) else ""
    return f'"{column.name}"::{kind}' if kind else f'"{column.name}"'
