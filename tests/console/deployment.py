"""The service that the console belongs to, as a process of its own, and the people who look at it."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import URL

from tests.committed.held import HeldServer, held_server
from tests.committed.server import ServerProcess, running
from tests.helpers import PASSWORD, Member, Tenant, join, log_in, unique_email
from tests.own_database import OwnDatabase, own_database

OPERATOR_TOKEN = secrets.token_hex(32)
# Long enough to see an answer come, a third of a second for all of it.
LATENCY_SECONDS = 0.3
ECHO, HELD = "mock-echo", "held"
PRICE = {"input": 1_000_000, "output": 2_000_000}


@dataclass
class Deployment:
    """`held` is the provider behind the model `held`, which answers when a test says so."""

    server: ServerProcess
    database: OwnDatabase
    held: HeldServer
    settings: dict[str, str]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self) -> httpx.AsyncClient:
        return self.server.client()

    async def tenant(self, name: str | None = None) -> Tenant:
        """A new one, with an admin and a user, whose password is `PASSWORD`."""
        name, email = name or f"Tenant {secrets.token_hex(4)}", unique_email("admin")
        async with self.client() as client:
            created = await client.post(
                "/create-tenant",
                json={"name": name, "admin": {"email": email, "password": PASSWORD}},
                headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
            )
            assert created.status_code == 201, created.text
            tenant_id = created.json()["id"]
            admin: Member = await log_in(client, email)
            return Tenant(tenant_id, name, admin, await join(client, tenant_id))


@asynccontextmanager
async def deployment(template_url: URL, directory: Path) -> AsyncIterator[Deployment]:
    async with own_database(template_url) as database, held_server() as held:
        settings = {
            "database_url": database.text,
            "secret_key": secrets.token_hex(32),  # of each process that serves this database
            "tenant_creation": "operator",
            "operator_token": OPERATOR_TOKEN,
            "llm_mock_latency_seconds": str(LATENCY_SECONDS),
            "llm_models": json.dumps(_models(held.settings["openai_base_url"])),
            "llm_model": ECHO,
            "llm_token_timeout_seconds": "3600",
            "llm_timeout_seconds": "3600",
            "message_timeout_seconds": "7200",
        }
        async with running(directory, **settings) as server:
            yield Deployment(server, database, held, settings)


def _models(held: str) -> dict[str, Any]:
    return {
        ECHO: {"provider": "mock", "price": PRICE, "description": "Repeats what it is asked"},
        HELD: {"provider": "openai", "model": "tiny", "base_url": held, "api_key": "any", "price": PRICE},
    }
