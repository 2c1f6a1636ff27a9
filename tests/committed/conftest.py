"""The service with a provider that a test holds in its hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.application import create_app, lifespan
from app.core.config import Settings
from app.llm.base import LLMProvider
from tests.conftest import client_of
from tests.helpers import Tenant
from tests.llm.service import service_of
from tests.serving import listening_to
from tests.waiting import PATIENCE_SECONDS, until

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """Serves the same database with another provider (None: that of the settings), other settings, and a pool of two
    connections.
    """

    @asynccontextmanager
    async def start(provider: LLMProvider | None, **changes: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        configured = settings.model_copy(update={"db_pool_size": 2, **changes})
        app = create_app(configured)
        async with lifespan(app):
            if provider is not None:
                app.state.container.engine.llm = service_of(
                    provider, configured.llm_prices, configured.llm_max_output_tokens
                )
            async with client_of(app) as client:
                yield app, client

    return start


@pytest.fixture
def listen(settings: Settings) -> Serve:
    return listening(settings)


def listening(settings: Settings) -> Serve:
    """As `serve`, behind a socket: what streams can be read while it does, and clients can hang up."""

    @asynccontextmanager
    async def start(provider: LLMProvider, **changes: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        configured = settings.model_copy(update={"db_pool_size": 2, **changes})
        app = create_app(configured)
        async with listening_to(app) as port:
            engine = app.state.container.engine
            engine.llm = service_of(provider, configured.llm_prices, configured.llm_max_output_tokens)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                timeout=PATIENCE_SECONDS,
                limits=httpx.Limits(max_connections=None),
            ) as client:
                yield app, client

    return start


async def all_given_back(app: FastAPI) -> None:
    """Nobody holds a connection: what holds one for a moment, as the loops of the process do, gives it back."""
    await until(lambda: app.state.container.database.pool.in_use == 0, "all connections to be given back")


async def rows_of(superuser: asyncpg.Connection, tenant: Tenant) -> list[dict[str, Any]]:
    rows = await superuser.fetch("SELECT * FROM messages WHERE tenant_id = $1 ORDER BY id", tenant.id)
    return [dict(row) for row in rows]
