"""The service behind a socket, which one file's tests share; each has its own provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.core.config import Settings
from app.llm.base import LLMProvider
from tests.committed.conftest import Serve, listen, listening
from tests.committed.providers import HeldProvider
from tests.llm.service import service_of

__all__ = ["listen"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(settings: Settings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with listening(settings)(HeldProvider()) as served:
        yield served


@pytest.fixture
def live(shared: tuple[FastAPI, httpx.AsyncClient]) -> Serve:
    @asynccontextmanager
    async def start(provider: LLMProvider, **_: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        shared[0].state.container.engine.llm = service_of(provider)
        yield shared

    return start
