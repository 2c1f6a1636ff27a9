"""Two regions: the run's cluster, and a cluster of its own that a test may stop."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI
from sqlalchemy import URL

from app.application import create_app, lifespan
from app.core.config import Settings
from app.db.embedded import EmbeddedPostgres
from app.db.roles import REVOKE_TEMPORARY
from tests.conftest import POSTGRES_OPTIONS, TEMPLATE, client_of, dsn, execute, make_settings
from tests.helpers import PASSWORD, Tenant, join, log_in, unique_email
from tests.waiting import until


class Cluster:
    """A PostgreSQL with the migrated template in it."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self.url = server.url

    async def new_database(self) -> URL:
        name = f"region_{secrets.token_hex(6)}"
        await execute(self.url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await execute(self.url.set(database=name), REVOKE_TEMPORARY)
        return self.url.set(database=name)

    def stop(self) -> None:
        """All sessions end, and nobody answers. Not as in a power cut: what is committed here is not on a disk."""
        self._server._pg_ctl("stop", "-m", "fast")

    async def start(self) -> None:
        # At its own port: a free one would be another as long as connections of before linger.
        options = [f"-p {self.url.port}", "-c listen_addresses=127.0.0.1", "-c unix_socket_directories="]
        log = str(self._server._root / "log")
        self._server._pg_ctl("start", "-w", "-l", log, "-o", " ".join([*options, *POSTGRES_OPTIONS]))

        async def answers() -> bool:
            try:
                await execute(self.url.set(database="postgres"), "SELECT 1")
            except (OSError, asyncpg.PostgresError):
                return False
            return True

        await until(answers, "the cluster to be back")


class Two:
    """The databases of `eu`, which comes first, and `us`, with a superuser's connection to each."""

    def __init__(self, eu: URL, us: URL, cluster: Cluster, data_dir: Path) -> None:
        self.urls = {"eu": eu, "us": us}
        self.cluster = cluster
        """Of `us`."""
        self.data_dir = data_dir
        self.superusers: dict[str, asyncpg.Connection] = {}

    async def connect(self) -> None:
        self.superusers = {region: await asyncpg.connect(dsn(url)) for region, url in self.urls.items()}

    def settings(self, **changes: Any) -> Settings:
        shards = {region: url.render_as_string(hide_password=False) for region, url in self.urls.items()}
        given = {"database_shards": json.dumps(shards), "db_pool_size": 4, **changes}
        return make_settings(self.urls["eu"], self.data_dir, **given)

    @asynccontextmanager
    async def service(self, **changes: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        """A process of the service, as far as it matters."""
        app = create_app(self.settings(**changes))
        async with lifespan(app), client_of(app) as client:
            yield app, client

    @asynccontextmanager
    async def without(self, region: str) -> AsyncIterator[None]:
        """The cluster of `us` stops; the run's own, which others use, refuses the database and ends sessions."""
        if region == "us":
            self.cluster.stop()
            yield
            await self.cluster.start()
            return
        name, admin = self.urls["eu"].database, self.urls["eu"].set(database="postgres")
        await execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(admin, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
        yield
        await execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    async def count(self, region: str, tenant_id: str) -> dict[str, int]:
        """The tenant's rows by table, but for the directory's."""
        superuser = self.superusers[region]
        tables = await superuser.fetch(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND column_name = 'tenant_id' AND table_name NOT LIKE 'directory_%'"
        )
        queries = [f"SELECT '{table}', count(*) FROM {table} WHERE tenant_id = $1" for (table,) in tables]
        queries.append("SELECT 'tenants', count(*) FROM tenants WHERE id = $1")
        rows = await superuser.fetch(" UNION ALL ".join(queries), tenant_id)
        return {name: count for name, count in rows if count}


async def tenant_in(client: httpx.AsyncClient, region: str | None) -> Tenant:
    """As `make_tenant`, in a region."""
    name, email = unique_email("Tenant"), unique_email("admin")
    body = {"name": name, "admin": {"email": email, "password": PASSWORD}}
    created = await client.post("/create-tenant", json=body | ({"region": region} if region else {}))
    assert created.status_code == 201, created.text
    tenant_id = created.json()["id"]
    return Tenant(tenant_id, name, await log_in(client, email), await join(client, tenant_id))


async def new_key(client: httpx.AsyncClient, member: Any) -> str:
    body = {"name": "machine", "scopes": ["messages:read", "messages:write"]}
    created = await client.post("/api-keys", json=body, headers=member.headers)
    assert created.status_code == 201, created.text
    key: str = created.json()["key"]
    return key
