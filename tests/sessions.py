"""Sessions as a client holds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI
from sqlalchemy import URL

from app.application import create_app, lifespan
from tests.conftest import client_of, make_settings
from tests.helpers import PASSWORD, Member


@dataclass(frozen=True)
class Session:
    """An access token and the refresh token that continues it."""

    access: str
    refresh: str
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}

    @classmethod
    def of(cls, answer: httpx.Response) -> "Session":
        assert answer.status_code == 200, answer.text
        return cls(answer.json()["access_token"], answer.json()["refresh_token"], answer.json())


async def begin(client: httpx.AsyncClient, member: Member, password: str = PASSWORD) -> Session:
    return Session.of(await client.post("/login", json={"email": member.email, "password": password}))


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/refresh", json={"refresh_token": token})


async def status_of(client: httpx.AsyncClient, credential: str) -> int:
    """Of a request with it."""
    return (await client.get("/me", headers={"Authorization": f"Bearer {credential}"})).status_code


async def rows_of(superuser: asyncpg.Connection, user_id: str) -> list[asyncpg.Record]:
    return await superuser.fetch("SELECT * FROM sessions WHERE user_id = $1", user_id)


async def actions_of(superuser: asyncpg.Connection, tenant_id: str) -> list[str]:
    """What the audit log says of a tenant, the oldest first."""
    rows = await superuser.fetch("SELECT action FROM audit_log WHERE tenant_id = $1 ORDER BY created_at, id", tenant_id)
    return [row["action"] for row in rows]


@asynccontextmanager
async def instance(
    database_url: URL, data_dir: Path, **changes: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Another process of the service, as far as it matters: its own memory and settings, the same database."""
    app = create_app(make_settings(database_url, data_dir, db_pool_size=2, **changes))
    async with lifespan(app), client_of(app) as client:
        yield app, client
