"""Making tenants and members over the interface, as a client would."""

from dataclasses import dataclass
from typing import Any

import httpx

from app.core.ids import new_id

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Member:
    """A logged-in user; `headers` carry its token."""

    id: str
    email: str
    tenant_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Tenant:
    id: str
    name: str
    admin: Member
    user: Member


def unique_email(name: str = "someone") -> str:
    return f"{name}-{new_id()}@acme.com"


async def make_tenant(client: httpx.AsyncClient) -> Tenant:
    name, email = f"Tenant {new_id()}", unique_email("admin")
    created = await client.post("/create-tenant", json={"name": name, "admin": {"email": email, "password": PASSWORD}})
    assert created.status_code == 201, created.text
    tenant_id = created.json()["id"]
    return Tenant(tenant_id, name, await log_in(client, email), await join(client, tenant_id))


async def join(client: httpx.AsyncClient, tenant_id: str) -> Member:
    """Register a user in the tenant and log in."""
    email = unique_email("user")
    registered = await client.post("/register", json={"email": email, "password": PASSWORD, "tenant_id": tenant_id})
    assert registered.status_code == 201, registered.text
    return await log_in(client, email)


async def log_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> Member:
    answer = await client.post("/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Member(body["user"]["id"], email, body["user"]["tenant_id"], body["access_token"])


async def send(client: httpx.AsyncClient, member: Member, content: str = "Hello") -> dict[str, Any]:
    answer = await client.post("/messages", json={"content": content}, headers=member.headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body
