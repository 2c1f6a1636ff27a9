"""The service behind a socket, and the real clients that call it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest_asyncio
from fastapi import FastAPI
from openai import AsyncOpenAI

from app.application import create_app
from app.core.config import Settings
from app.documents.embedding.embedders import Embedders
from tests.documents.library import HashEmbedder
from tests.helpers import Member, Tenant, make_tenant
from tests.serving import listening_to
from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Live:
    """The service at `url`; `requests` are those that came in, as (method, path)."""

    app: FastAPI
    url: str
    client: httpx.AsyncClient
    requests: list[tuple[str, str]]

    @contextmanager
    def sharing(self, **other: Any) -> Iterator[None]:
        """The service with other objects of the process."""
        state, usual = self.app.state, self.app.state.container
        state.container = replace(usual, shared=replace(usual.shared, **other))
        yield
        state.container = usual

    def openai(self, member: Member | None = None, **options: Any) -> AsyncOpenAI:
        """OpenAI's own client, pointed here by base URL and key alone."""
        key = member.token if member is not None else "llms_nobody"
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, timeout=PATIENCE_SECONDS, **options)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def live(settings: Settings) -> AsyncIterator[Live]:
    app = create_app(settings)
    seen: list[tuple[str, str]] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["method"], scope["path"]))
        await app(scope, receive, send)

    async with listening_to(counted) as port:
        container = app.state.container
        app.state.container = replace(
            container, shared=replace(container.shared, embedders=Embedders(HashEmbedder(), [HashEmbedder("older", 8)]))
        )
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
            yield Live(app, url, client, seen)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenant(live: Live) -> Tenant:
    return await make_tenant(live.client)
