"""Things of a tenant that an operation can be pointed at, by the kinds that `app/verification/operations.py` names."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import asyncpg
import httpx
from fastapi import FastAPI

from app.core.ids import new_id
from app.core.settings.llm import Price
from app.verification.things import THINGS, Maker
from tests.committed.providers import HeldProvider
from tests.helpers import PASSWORD, Tenant, unique_email
from tests.llm.service import service_of

PRICES = {name: Price(input=1, output=1) for name in HeldProvider.models}  # a budget needs one


@dataclass
class Service:
    """The service under test, and the database behind it."""

    app: FastAPI
    client: httpx.AsyncClient
    superuser: asyncpg.Connection
    running: list[str] = field(default_factory=list)
    """Messages whose provider does not answer."""

    async def make(self, kind: str, tenant: Tenant, text: str = "Hello") -> str:
        """A new thing of the tenant that belongs to its user; returns what names it."""
        return await MAKERS[kind](self, tenant, text)

    async def close(self) -> None:
        """End what still runs: the shutdown would wait for it."""
        engine = self.app.state.container.engine
        for message_id in self.running:
            if (generation := engine.find(message_id, 1)) is not None:
                engine.cancel(message_id, 1)
                await generation.ended


async def _unanswered(kind: str, service: Service, tenant: Tenant, text: str) -> str:
    engine = service.app.state.container.engine
    usual, engine.llm = engine.llm, service_of(HeldProvider(), PRICES)
    try:
        made = await THINGS[kind](service.client, tenant, text)
    finally:
        engine.llm = usual
    service.running.append(made.removeprefix("resp_"))
    return made


async def failed_message(service: Service, tenant: Tenant, text: str) -> str:
    message_id = await THINGS["message"](service.client, tenant, text)
    failed = "UPDATE messages SET status = 'failed', error_code = 'provider_error' WHERE id = $1"
    await service.superuser.execute(failed, message_id)
    return message_id


async def read_document(service: Service, tenant: Tenant, text: str) -> str:
    document_id = await THINGS["document"](service.client, tenant, text)
    read = "UPDATE document_contents SET text = $2 WHERE document_id = $1"
    await service.superuser.execute(read, document_id, text)
    return document_id


async def password(_: Service, __: Tenant, ___: str) -> str:
    return PASSWORD


async def new_password(_: Service, __: Tenant, ___: str) -> str:
    return f"{PASSWORD}!"


async def no(_: Service, __: Tenant, ___: str) -> str:
    return "false"


async def refresh_token(service: Service, tenant: Tenant, _: str) -> str:
    body = {"email": tenant.user.email, "password": PASSWORD}
    return str((await service.client.post("/login", json=body)).json()["refresh_token"])


async def tenant_name(service: Service, tenant: Tenant, _: str) -> str:
    return str(await service.superuser.fetchval("SELECT name FROM tenants WHERE id = $1", tenant.id))


async def login(_: Service, tenant: Tenant, __: str) -> str:
    return tenant.user.email


async def email(_: Service, __: Tenant, ___: str) -> str:
    return unique_email()


async def name(_: Service, __: Tenant, ___: str) -> str:
    return f"Tenant {new_id()}"


def _made_by_clients(make: Maker) -> Callable[[Service, Tenant, str], Awaitable[str]]:
    async def made(service: Service, tenant: Tenant, text: str) -> str:
        return await make(service.client, tenant, text)

    return made


MAKERS: dict[str, Callable[[Service, Tenant, str], Awaitable[str]]] = {
    **{kind: _made_by_clients(make) for kind, make in THINGS.items()},
    "running_message": partial(_unanswered, "running_message"),
    "running_response": partial(_unanswered, "running_response"),
    "failed_message": failed_message,
    "read_document": read_document,
    # Not ids: what a body needs that is taken, or must not be.
    "tenant_name": tenant_name,
    "login": login,
    "refresh_token": refresh_token,
    "password": password,
    "new_password": new_password,
    "email": email,
    "name": name,
    "no": no,
}
