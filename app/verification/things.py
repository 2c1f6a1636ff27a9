"""Things of a tenant that an operation can be pointed at, by the kinds that `operations.py` names, made by a client."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from app.core.ids import new_id
from app.verification.wire import NotVerified


class Client(Protocol):
    """What makes HTTP requests."""

    def get(self, path: str, /, **options: Any) -> Awaitable[Any]: ...
    def post(self, path: str, /, **options: Any) -> Awaitable[Any]: ...
    def put(self, path: str, /, **options: Any) -> Awaitable[Any]: ...


class Person(Protocol):
    @property
    def headers(self) -> dict[str, str]: ...


class Owner(Protocol):
    """A tenant with an admin, and with a user to whom the things belong."""

    @property
    def id(self) -> str: ...
    @property
    def admin(self) -> Any: ...
    @property
    def user(self) -> Any: ...


class NotMade(NotVerified):
    """`status` says why; 501: this deployment has no such things."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__(f"{path} answered with {status}")
        self.status = status


Maker = Callable[[Client, Owner, str], Awaitable[str]]


async def _created(client: Client, tenant: Owner, path: str, body: dict[str, Any], *, admin: bool = False) -> str:
    member: Person = tenant.admin if admin else tenant.user
    answer = await client.post(path, json=body, headers=member.headers)
    if not answer.is_success:
        raise NotMade(path, answer.status_code)
    return str(answer.json()["id"])


def prompt(text: str) -> str:
    """Short to answer, for who is paid for it."""
    return f"Repeat this one word: {text}"


async def message(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/messages", {"content": prompt(text)})


async def background_message(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/messages", {"content": prompt(text), "background": True})


async def conversation(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/conversations", {"title": text, "system_prompt": text})


async def response(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/v1/responses", {"input": prompt(text), "metadata": {"of": text}})


async def background_response(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/v1/responses", {"input": prompt(text), "background": True})


async def conversation_of_responses(client: Client, tenant: Owner, text: str) -> str:
    items = [{"role": "system", "content": text}]
    return await _created(client, tenant, "/v1/conversations", {"items": items, "metadata": {"of": text}})


async def conversation_item(client: Client, tenant: Owner, text: str) -> str:
    conversation_id = await conversation_of_responses(client, tenant, text)
    body = {"input": prompt(text), "conversation": conversation_id}
    made = await _created(client, tenant, "/v1/responses", body)
    return f"{conversation_id}/{made.replace('resp_', 'msg_')}_i0"


async def added_item(client: Client, tenant: Owner, text: str) -> str:
    conversation_id = await conversation_of_responses(client, tenant, text)
    body = {"items": [{"role": "user", "content": text}]}
    answer = await client.post(f"/v1/conversations/{conversation_id}/items", json=body, headers=tenant.user.headers)
    if not answer.is_success:
        raise NotMade("/v1/conversations/{id}/items", answer.status_code)
    return f"{conversation_id}/{answer.json()['data'][0]['id']}"


async def document(client: Client, tenant: Owner, text: str) -> str:
    body = {"name": new_id(), "text": text, "collection": text, "attributes": {"of": text}}
    return await _created(client, tenant, "/documents", body)


async def chat_completion(client: Client, tenant: Owner, text: str) -> str:
    said = [{"role": "user", "content": prompt(text)}]
    body = {"model": "", "messages": said, "store": True, "metadata": {"of": text}}
    return (await _created(client, tenant, "/v1/chat/completions", body)).removeprefix("chatcmpl-")


async def user(client: Client, tenant: Owner, text: str) -> str:
    body = {"email": an_email(text), "password": new_id(), "role": "user"}
    return await _created(client, tenant, "/admin/users", body, admin=True)


async def api_key(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/api-keys", {"name": text, "scopes": ["messages:read"]})


async def key_of_admin(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/api-keys", {"name": text, "scopes": ["messages:read"]}, admin=True)


async def invite(client: Client, tenant: Owner, text: str) -> str:
    return await _created(client, tenant, "/admin/invites", {"email": an_email(text)}, admin=True)


async def model(client: Client, tenant: Owner, _: str) -> str:
    """One that every tenant has."""
    answer = await client.get("/models", headers=tenant.admin.headers)
    if not answer.is_success:
        raise NotMade("/models", answer.status_code)
    return str(next(each["id"] for each in answer.json() if each["default"]))


async def provider_key(client: Client, tenant: Owner, text: str, provider: str = "openai") -> str:
    """Its name, which is the same for all tenants; the address is the tenant's own."""
    path, body = f"/admin/providers/{provider}", {"api_key": f"sk-{new_id()}", "base_url": f"https://{text}.invalid/v1"}
    answer = await client.put(path, params={"test": False}, json=body, headers=tenant.admin.headers)
    if not answer.is_success:
        raise NotMade(path, answer.status_code)
    return provider


async def doomed_provider_key(client: Client, tenant: Owner, text: str) -> str:
    return await provider_key(client, tenant, text, "anthropic")


async def tenant_itself(_: Client, tenant: Owner, __: str) -> str:
    return tenant.id


def an_email(text: str = "someone") -> str:
    return f"{text}-{new_id()}@verify-isolation.test"


THINGS: dict[str, Maker] = {
    "message": message,
    "running_message": background_message,
    "failed_message": message,
    "conversation": conversation,
    "response": response,
    "running_response": background_response,
    "conversation_of_responses": conversation_of_responses,
    "conversation_item": conversation_item,
    "added_item": added_item,
    "document": document,
    "read_document": document,
    "chat_completion": chat_completion,
    "user": user,
    "api_key": api_key,
    "key_of_admin": key_of_admin,
    "invite": invite,
    "model": model,
    "tenant": tenant_itself,
    # Last: from then on the tenant's own key would be taken for its messages.
    "provider_key": provider_key,
    "doomed_provider_key": doomed_provider_key,
}
