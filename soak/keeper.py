"""Puts back what fuzzing takes away: deleted rows, ended sessions, changed passwords. Else it would soon meet only 401 and 404."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from sqlalchemy import URL

from soak.seed import dsn

EVERY_SECONDS = 2.0
SEEDED = " WHERE id LIKE '5eed5eed-%'"
# Parents first.
TABLES = ("tenants", "users", "sessions", "api_keys", "invites", "conversations", "messages", "budgets")
# Of the rows, those that the seed made; of the sessions, those of the tokens.
KEEP = "CREATE SCHEMA kept; " + "; ".join(
    f"CREATE TABLE kept.{table} AS SELECT * FROM {table}{'' if table == 'sessions' else SEEDED}" for table in TABLES
)
# What a deleted message used stays under its id, which can serve once: both change in one statement.
MESSAGES = """
WITH gone AS (DELETE FROM deleted_usage d USING kept.messages k WHERE k.id = d.id RETURNING k.id)
INSERT INTO messages SELECT k.* FROM kept.messages k JOIN gone USING (id) ON CONFLICT DO NOTHING
"""
MISSING = tuple(
    MESSAGES if table == "messages" else f"INSERT INTO {table} SELECT * FROM kept.{table} ON CONFLICT DO NOTHING"
    for table in TABLES
)
CHANGED = (
    """
    UPDATE users u SET role = k.role, token_version = k.token_version, disabled_at = NULL, hashed_password = k.hashed_password
    FROM kept.users k WHERE k.id = u.id
      AND (u.role, u.token_version, u.hashed_password) IS DISTINCT FROM (k.role, k.token_version, k.hashed_password)
       OR k.id = u.id AND u.disabled_at IS NOT NULL
    """,
    """
    UPDATE budgets b SET limit_micro_usd = k.limit_micro_usd FROM kept.budgets k
    WHERE k.id = b.id AND k.limit_micro_usd IS DISTINCT FROM b.limit_micro_usd
    """,
)


@asynccontextmanager
async def keeping(url: URL) -> AsyncIterator[None]:
    """For the block, what is in the database now comes back within seconds."""
    connection = await asyncpg.connect(dsn(url))
    await connection.execute(KEEP)
    task = asyncio.create_task(_put_back(connection))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await connection.close()


async def _put_back(connection: asyncpg.Connection) -> None:
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        for statement in (*MISSING, *CHANGED):
            # Each in a transaction of its own: none holds a lock while it waits for another. A parent that is deleted
            # in between is there again at the next pass.
            with suppress(asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
                await connection.execute(statement)
