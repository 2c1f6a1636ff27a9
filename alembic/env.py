"""Alembic's async environment.

The URL is the caller's (`config.attributes["url"]`), else MIGRATION_DATABASE_URL, else DATABASE_DIRECT_URL, else
DATABASE_URL, else the embedded PostgreSQL, which then runs for as long as the command does.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from alembic import context
from app.core.config import get_settings
from app.db import migration
from app.db.connection import plain_engine
from app.db.embedded import EmbeddedPostgres
from app.documents.indexes import TENANT_OF
from app.models import Base

# Two processes that start at once migrate one after the other.
MIGRATION_LOCK = text(f"SELECT pg_try_advisory_xact_lock({migration.TURN})")
LOOK_SECONDS = 0.2
LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED = "55P03", "40P01"

logger = logging.getLogger("alembic.env")


def is_ours(_: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """Not the indexes that large tenants have of their own, which no model knows."""
    return not (kind == "index" and reflected and compared is None and TENANT_OF.match(name or "") is not None)


def run_migrations(connection: Connection) -> None:
    """Take the steps, each in a transaction of its own; one that finds a table in use is taken again after a pause."""
    options: dict[str, Any] = {
        "connection": connection,
        "target_metadata": Base.metadata,
        "transaction_per_migration": True,
        "include_object": is_ours,
    }
    context.configure(**options)
    steps = Steps(connection, context.get_context().opts["fn"])
    tries = 0
    while True:
        context.configure(**options, fn=steps.left)
        try:
            with context.begin_transaction():
                context.run_migrations()
        except DBAPIError as error:
            connection.rollback()
            tries += 1
            if getattr(error.orig, "sqlstate", "") not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                raise
            if tries == migration.LOCK_TRIES:
                raise
            logger.warning("A table is in use: again in %g s (%s)", tries * migration.LOCK_PAUSE_SECONDS, error.orig)
            time.sleep(tries * migration.LOCK_PAUSE_SECONDS)
        else:
            return


class Steps:
    """What a command has to do, found out once: `-2` means another revision after the first of two steps."""

    def __init__(self, connection: Connection, find: Callable[..., Iterable[Any]]) -> None:
        self._connection, self._find = connection, find
        self._steps: deque[Any] | None = None

    def left(self, heads: Any, migration_context: Any) -> Iterator[Any]:
        if self._steps is None:
            self._steps = deque(self._find(heads, migration_context))
        while self._steps:
            for bound in migration.BOUNDS:
                self._connection.execute(text(bound))
            yield self._steps[0]
            self._steps.popleft()  # it is committed: what fails does not come back here


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until no other process migrates; the transaction that is left open is the lock.

    By looking: a statement that waits has a snapshot, for whose end CREATE INDEX CONCURRENTLY would wait.
    """
    while not (await connection.execute(MIGRATION_LOCK)).scalar_one():
        await connection.rollback()
        await asyncio.sleep(LOOK_SECONDS)
    # Last: the driver leaves the portal of a query open, with its snapshot, until the next statement replaces it.
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


async def migrate(url: str) -> None:
    engine = plain_engine(url)
    try:
        async with engine.connect() as turn, engine.connect() as connection:
            await take_turn(turn)
            await connection.run_sync(run_migrations)
    finally:
        await engine.dispose()


async def main() -> None:
    settings = get_settings()
    given = context.config.attributes.get("url") or settings.migration_database_url
    url = given or settings.database_direct_url or settings.database_url
    if url:
        await migrate(url)
        return
    async with EmbeddedPostgres(settings.data_dir) as embedded:
        await migrate(embedded.url)


if context.is_offline_mode():
    raise SystemExit("offline migrations are not supported: roles are made by looking at the cluster")
asyncio.run(main())
