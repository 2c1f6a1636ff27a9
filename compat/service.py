"""The live service that the clients call, with the mock behind it, and a tenant that has spent its budget."""

import json
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from soak.service import serving

MODEL = "mock-echo"
SETTINGS = {
    "SECRET_KEY": "compat-run-" * 4,
    "BCRYPT_ROUNDS": "4",
    "LLM_PROVIDER": "mock",
    # Without a price no budget is ever over.
    "LLM_PRICES": json.dumps({MODEL: {"input": 1_000_000, "output": 2_000_000}}),
    # An answer takes long enough for a reader to leave in its middle.
    "LLM_MOCK_LATENCY_SECONDS": "0.2",
    "RATE_LIMIT_ENABLED": "false",
    "LOG_LEVEL": "ERROR",
}


@dataclass(frozen=True)
class Service:
    url: str
    key: str
    broke_key: str
    embedding_model: str


@asynccontextmanager
async def running() -> AsyncIterator[Service]:
    with tempfile.TemporaryDirectory(prefix="llm-saas-compat-") as directory:
        async with EmbeddedPostgres(Path(directory)) as postgres:
            await migrate(postgres.url)
            async with serving(postgres.url, Path(directory), 1, SETTINGS) as (port,):
                url = f"http://127.0.0.1:{port}"
                async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                    key = await make_key(client)
                    yield Service(url, key, await make_key(client, budget=1), await _embedding_model(client, key))


async def make_key(client: httpx.AsyncClient, budget: int | None = None) -> str:
    """Of the admin of a new tenant, which may spend so many micro-USD."""
    admin = {"email": f"admin@{secrets.token_hex(4)}.test", "password": secrets.token_hex(8)}
    created = await client.post("/create-tenant", json={"name": f"Tenant {secrets.token_hex(4)}", "admin": admin})
    logged_in = (await client.post("/login", json=admin)).raise_for_status().json()
    created.raise_for_status()
    headers = {"Authorization": f"Bearer {logged_in['access_token']}"}
    if budget is not None:
        (await client.put("/admin/budget", json={"limit_micro_usd": budget}, headers=headers)).raise_for_status()
    wanted = {"name": "all models", "scopes": ["messages:read", "messages:write"]}
    made = await client.post("/api-keys", json=wanted, headers=headers)
    return str(made.raise_for_status().json()["key"])


async def _embedding_model(client: httpx.AsyncClient, key: str) -> str:
    found = await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    names = [model["id"] for model in found.raise_for_status().json()["data"]]
    return next((name for name in names if name != MODEL), MODEL)
