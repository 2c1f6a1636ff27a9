"""Making a database ready: the database itself, the schema, and the runtime's login."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.config import Settings
from app.core.errors import PermissionDenied
from app.db.connection import plain_engine
from app.db.embedded import EmbeddedPostgres
from app.db.roles import REVOKE_TEMPORARY, RUNTIME_ROLE

ROOT = Path(__file__).resolve().parents[2]
ALEMBIC_INI = ROOT / "alembic.ini"
REVISION = re.compile(r'^(revision|down_revision)\b.*= "(\w+)"$', re.MULTILINE)
VERSION = text("SELECT version_num FROM alembic_version")
UNDEFINED_TABLE = "42P01"
INVALID_CATALOG_NAME = "3D000"
INSUFFICIENT_PRIVILEGE = "42501"


@asynccontextmanager
async def ready_database(settings: Settings) -> AsyncIterator[str]:
    """The URL to serve from: `DATABASE_URL`, or the embedded PostgreSQL, started and migrated for the block."""
    if settings.database_url:
        yield settings.database_url
        return
    async with EmbeddedPostgres(settings.data_dir) as embedded:
        if not await _is_at_head(embedded.url):
            await migrate(embedded.url)
        yield embedded.url.render_as_string(hide_password=False)


async def provision(owner: URL, runtime: URL) -> None:
    """Create the database if it is missing, migrate it, and let the runtime's login take the runtime role."""
    if not await _exists(owner):
        await _execute(owner.set(database="postgres"), f"CREATE DATABASE {_quoted(owner.database)}", autocommit=True)
    await migrate(owner)
    # Each time: a copy or a restored dump has the tables of the old database and the rights of a new one.
    await _execute(owner, REVOKE_TEMPORARY)
    if runtime.username and runtime.username != owner.username:
        await _create_login(owner, runtime)


async def migrate(url: URL) -> None:
    """`alembic upgrade head`. Alembic brings its own event loop, so it gets a thread."""
    # Not at the top: where nothing is to be migrated, it would be a part of every start.
    from alembic.config import Config

    from alembic import command

    config = Config(ALEMBIC_INI)
    config.attributes["url"] = url
    await asyncio.to_thread(command.upgrade, config, "head")


def newest_revision() -> str:
    """The migrations' head, from their text."""
    found = [REVISION.findall(path.read_text()) for path in (ROOT / "alembic" / "versions").glob("*.py")]
    lines = [line for lines in found for line in lines]
    head: str
    (head,) = {name for kind, name in lines if kind == "revision"} - {
        name for kind, name in lines if kind == "down_revision"
    }
    return head


async def _is_at_head(url: URL) -> bool:
    try:
        async with owner_connection(url) as connection:
            version: str | None = (await connection.execute(VERSION)).scalar_one_or_none()
            return version == newest_revision()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE:
            return False
        raise


async def _create_login(owner: URL, runtime: URL) -> None:
    name, password = _quoted(runtime.username), str(runtime.password or "").replace("'", "''")
    await _execute(
        owner,
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{_literal(runtime.username)}') THEN "
        f"CREATE ROLE {name} LOGIN NOINHERIT; END IF; END $$",
        f"ALTER ROLE {name} LOGIN INHERIT PASSWORD '{password}'",
        # A process that vanished in mid-transaction, with its machine, must not keep its locks.
        f"ALTER ROLE {name} SET idle_in_transaction_session_timeout = '5min'",
        f"GRANT {RUNTIME_ROLE} TO {name}",
        f"GRANT CONNECT ON DATABASE {_quoted(owner.database)} TO {name}",
    )


async def _exists(url: URL) -> bool:
    try:
        await _execute(url, "SELECT 1")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == INVALID_CATALOG_NAME:
            return False
        raise
    return True


@asynccontextmanager
async def owner_connection(url: URL | str, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
    """A transaction of the login that migrates; raises `PermissionDenied` for what only the owner may.

    `autocommit`: none, for what PostgreSQL refuses inside of one.
    """
    engine = plain_engine(url, **({"isolation_level": "AUTOCOMMIT"} if autocommit else {}))
    try:
        async with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
            raise PermissionDenied("Only the database's owner may do this: set MIGRATION_DATABASE_URL.") from error
        raise
    finally:
        await engine.dispose()


async def _execute(url: URL | str, *statements: str, autocommit: bool = False) -> None:
    options = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    engine = plain_engine(url, **options)

    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement.replace(":", r"\:")))

    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


def _quoted(name: str | None) -> str:
    return '"' + (name or "").replace('"', '""') + '"'


def _literal(value: str | None) -> str:
    return (value or "").replace("'", "''")
