"""Alembic's async environment.

The URL is the caller's (`config.attributes["url"]`), else MIGRATION_DATABASE_URL, else DATABASE_URL, else the embedded
PostgreSQL, which then runs for as long as the command does.
"""

import asyncio

from sqlalchemy import Connection, text

from alembic import context
from app.core.config import get_settings
from app.db.connection import plain_engine
from app.db.embedded import EmbeddedPostgres
from app.models import Base

# Two processes that start at once migrate one after the other. The number is arbitrary and ours.
MIGRATION_LOCK = 7_240_318


def run_migrations(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        # Whatever the login's bound is: to build an index takes as long as it takes.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def migrate(url: str) -> None:
    engine = plain_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_migrations)
    finally:
        await engine.dispose()


async def main() -> None:
    settings = get_settings()
    url = context.config.attributes.get("url") or settings.migration_database_url or settings.database_url
    if url:
        await migrate(url)
        return
    async with EmbeddedPostgres(settings.data_dir) as embedded:
        await migrate(embedded.url)


if context.is_offline_mode():
    raise SystemExit("offline migrations are not supported: roles are made by looking at the cluster")
asyncio.run(main())
