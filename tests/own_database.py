"""A database of a test's own, for what its neighbours in the worker's database would not survive."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import URL

from tests.conftest import TEMPLATE, dsn, execute


class OwnDatabase:
    """`admin` is a superuser's connection to the cluster: it lives while the database refuses everybody."""

    def __init__(self, url: URL, admin: asyncpg.Connection) -> None:
        self.url, self.admin = url, admin

    @property
    def text(self) -> str:
        return self.url.render_as_string(hide_password=False)

    async def set(self, change: str) -> None:
        """What sessions begin with from now on: `SET name = value`, `RESET name`, `ALLOW_CONNECTIONS false`..."""
        await self.admin.execute(f"ALTER DATABASE {self.url.database} {change}")

    async def end_sessions(self) -> None:
        """As a restart does."""
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
        await self.admin.execute(query.replace("$1", f"'{self.url.database}'"))


@asynccontextmanager
async def own_database(template_url: URL) -> AsyncIterator[OwnDatabase]:
    """Migrated, and dropped in the end."""
    name = f"own_{secrets.token_hex(6)}"
    admin_url = template_url.set(database="postgres")
    await execute(admin_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    admin = await asyncpg.connect(dsn(admin_url))
    try:
        yield OwnDatabase(template_url.set(database=name), admin)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
