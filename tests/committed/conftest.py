"""The service with a provider that a test holds in its hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.llm.base import LLMProvider
from app.services.llm_service import LLMService
from app.services.pricing import PriceTable
from main import create_app, lifespan
from tests.conftest import client_of
from tests.helpers import Tenant

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """Serves the same database with another provider, other settings, and a pool of two connections."""

    @asynccontextmanager
    async def start(provider: LLMProvider, **changes: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        configured = settings.model_copy(update={"db_pool_size": 2, **changes})
        app = create_app(configured)
        async with lifespan(app):
            prices = PriceTable(configured.llm_prices)
            app.state.container.engine.llm = LLMService(provider, prices, configured.llm_max_output_tokens)
            async with client_of(app) as client:
                yield app, client

    return start


async def rows_of(superuser: asyncpg.Connection, tenant: Tenant) -> list[dict[str, Any]]:
    rows = await superuser.fetch("SELECT * FROM messages WHERE tenant_id = $1 ORDER BY id", tenant.id)
    return [dict(row) for row in rows]
