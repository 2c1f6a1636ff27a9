"""Things of a tenant that an operation can be pointed at, by the kinds that `app/verification/operations.py` names."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from app.core.ids import new_id
from app.core.settings.llm import Price
from tests.committed.providers import HeldProvider
from tests.helpers import PASSWORD, Tenant, join, send, unique_email
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


async def _created(service: Service, tenant: Tenant, path: str, body: dict[str, Any], *, admin: bool = False) -> str:
    member = tenant.admin if admin else tenant.user
    answer = await service.client.post(path, json=body, headers=member.headers)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


async def message(service: Service, tenant: Tenant, text: str) -> str:
    return str((await send(service.client, tenant.user, text))["id"])


async def running_message(service: Service, tenant: Tenant, text: str) -> str:
    engine = service.app.state.container.engine
    usual, engine.llm = engine.llm, service_of(HeldProvider(), PRICES)
    try:
        service.running.append(await _created(service, tenant, "/messages", {"content": text, "background": True}))
    finally:
        engine.llm = usual
    return service.running[-1]


async def failed_message(service: Service, tenant: Tenant, text: str) -> str:
    message_id = await message(service, tenant, text)
    failed = "UPDATE messages SET status = 'failed', error_code = 'provider_error' WHERE id = $1"
    await service.superuser.execute(failed, message_id)
    return message_id


async def conversation(service: Service, tenant: Tenant, text: str) -> str:
    return await _created(service, tenant, "/conversations", {"title": text, "system_prompt": text})


async def response(service: Service, tenant: Tenant, text: str) -> str:
    return await _created(service, tenant, "/v1/responses", {"input": text, "metadata": {"of": text}})


async def running_response(service: Service, tenant: Tenant, text: str) -> str:
    engine = service.app.state.container.engine
    usual, engine.llm = engine.llm, service_of(HeldProvider(), PRICES)
    try:
        made = await _created(service, tenant, "/v1/responses", {"input": text, "background": True})
    finally:
        engine.llm = usual
    service.running.append(made.removeprefix("resp_"))
    return made


async def conversation_of_responses(service: Service, tenant: Tenant, text: str) -> str:
    items = [{"role": "system", "content": text}]
    return await _created(service, tenant, "/v1/conversations", {"items": items, "metadata": {"of": text}})


async def conversation_item(service: Service, tenant: Tenant, text: str) -> str:
    conversation_id = await conversation_of_responses(service, tenant, text)
    made = await _created(service, tenant, "/v1/responses", {"input": text, "conversation": conversation_id})
    return f"{conversation_id}/{made.replace('resp_', 'msg_')}_i0"


async def document(service: Service, tenant: Tenant, text: str) -> str:
    body = {"name": new_id(), "text": text, "collection": text, "attributes": {"of": text}}
    return await _created(service, tenant, "/documents", body)


async def read_document(service: Service, tenant: Tenant, text: str) -> str:
    document_id = await document(service, tenant, text)
    read = "UPDATE document_contents SET text = $2 WHERE document_id = $1"
    await service.superuser.execute(read, document_id, text)
    return document_id


async def chat_completion(service: Service, tenant: Tenant, text: str) -> str:
    body = {"model": "", "messages": [{"role": "user", "content": text}], "store": True, "metadata": {"of": text}}
    return (await _created(service, tenant, "/v1/chat/completions", body)).removeprefix("chatcmpl-")


async def user(service: Service, tenant: Tenant, _: str) -> str:
    return (await join(service.client, tenant.id)).id


async def api_key(service: Service, tenant: Tenant, text: str) -> str:
    return await _created(service, tenant, "/api-keys", {"name": text, "scopes": ["messages:read"]})


async def key_of_admin(service: Service, tenant: Tenant, text: str) -> str:
    return await _created(service, tenant, "/api-keys", {"name": text, "scopes": ["messages:read"]}, admin=True)


async def invite(service: Service, tenant: Tenant, text: str) -> str:
    return await _created(service, tenant, "/admin/invites", {"email": unique_email(text)}, admin=True)


async def model(service: Service, tenant: Tenant, text: str) -> str:
    """One that every tenant has."""
    return "mock-echo"


async def provider_key(service: Service, tenant: Tenant, text: str, provider: str = "openai") -> str:
    """Its name, which is the same for all tenants; the address is the tenant's own."""
    body = {"api_key": f"sk-{new_id()}", "base_url": f"https://{text}.invalid/v1"}
    answer = await service.client.put(
        f"/admin/providers/{provider}", params={"test": False}, json=body, headers=tenant.admin.headers
    )
    assert answer.is_success, answer.text
    return provider


async def doomed_provider_key(service: Service, tenant: Tenant, text: str) -> str:
    return await provider_key(service, tenant, text, "anthropic")


async def password(_: Service, __: Tenant, ___: str) -> str:
    return PASSWORD


async def new_password(_: Service, __: Tenant, ___: str) -> str:
    return f"{PASSWORD}!"


async def no(_: Service, __: Tenant, ___: str) -> str:
    return "false"


async def refresh_token(service: Service, tenant: Tenant, _: str) -> str:
    body = {"email": tenant.user.email, "password": PASSWORD}
    return str((await service.client.post("/login", json=body)).json()["refresh_token"])


async def tenant_itself(_: Service, tenant: Tenant, __: str) -> str:
    return tenant.id


async def tenant_name(service: Service, tenant: Tenant, _: str) -> str:
    return str(await service.superuser.fetchval("SELECT name FROM tenants WHERE id = $1", tenant.id))


async def login(_: Service, tenant: Tenant, __: str) -> str:
    return tenant.user.email


async def email(_: Service, __: Tenant, ___: str) -> str:
    return unique_email()


async def name(_: Service, __: Tenant, ___: str) -> str:
    return f"Tenant {new_id()}"


MAKERS: dict[str, Callable[[Service, Tenant, str], Awaitable[str]]] = {
    "message": message,
    "running_message": running_message,
    "failed_message": failed_message,
    "conversation": conversation,
    "response": response,
    "running_response": running_response,
    "conversation_of_responses": conversation_of_responses,
    "conversation_item": conversation_item,
    "document": document,
    "read_document": read_document,
    "chat_completion": chat_completion,
    "user": user,
    "api_key": api_key,
    "key_of_admin": key_of_admin,
    "invite": invite,
    "model": model,
    "provider_key": provider_key,
    "doomed_provider_key": doomed_provider_key,
    "tenant": tenant_itself,
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
