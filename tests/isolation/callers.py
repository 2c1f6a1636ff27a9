"""The kinds of callers, each made from a tenant, and what an operation's access means for them.

Here, and here alone, a new kind is plugged in: a line in `CALLERS` that makes its headers, and one in `status_for`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.helpers import PASSWORD, Member, Tenant, join, log_in, unique_email
from tests.isolation.operations import ADMIN_SCOPE, READ, WRITE, Access, Operation
from tests.isolation.resources import Service

Headers = dict[str, str]
# They hold an admin's token (or key): so that what refuses them is the database, not the role in the token.
LOST = ("deleted", "demoted", "disabled", "logged_out", "with_an_old_password", "revoked_key")
KEY_SCOPES = {"key_to_read": [READ], "key_to_write": [WRITE], "key_with_all": [READ, WRITE, ADMIN_SCOPE]}


def status_for(kind: str, operation: Operation) -> int:
    """What the table promises to this kind of caller, for a thing of the caller's own tenant."""
    if kind in operation.answers:
        return operation.answers[kind]
    if operation.access is Access.OPEN:
        return operation.ok
    if kind == "anonymous":
        return 401
    if kind in LOST:
        return 401
    return operation.ok if _may(kind, operation) else 403


def _may(kind: str, operation: Operation) -> bool:
    if kind in KEY_SCOPES:
        needed = operation.scope or (ADMIN_SCOPE if operation.access is Access.ADMIN else "")
        return not needed or needed in KEY_SCOPES[kind]
    allowed = {
        "admin": set(Access),
        "user": {Access.MEMBER, Access.OWNER},
        "colleague": {Access.MEMBER},
    }[kind]
    return operation.access in allowed


async def _second_admin(service: Service, tenant: Tenant) -> Member:
    email = unique_email("second-admin")
    body = {"email": email, "password": PASSWORD, "role": "admin"}
    answer = await service.client.post("/admin/users", json=body, headers=tenant.admin.headers)
    assert answer.status_code == 201, answer.text
    return await log_in(service.client, email)


async def _anonymous(_: Service, __: Tenant) -> Headers:
    return {}


async def _admin(_: Service, tenant: Tenant) -> Headers:
    return tenant.admin.headers


async def _user(_: Service, tenant: Tenant) -> Headers:
    """Who made the things of `resources.py`."""
    return tenant.user.headers


async def _colleague(service: Service, tenant: Tenant) -> Headers:
    """A user of the same tenant who made nothing."""
    return (await join(service.client, tenant.id)).headers


async def _deleted(service: Service, tenant: Tenant) -> Headers:
    member = await _second_admin(service, tenant)
    await _done(service.client.delete(f"/admin/users/{member.id}", headers=tenant.admin.headers))
    return member.headers


async def _demoted(service: Service, tenant: Tenant) -> Headers:
    return await _changed(service, tenant, {"role": "user"})


async def _disabled(service: Service, tenant: Tenant) -> Headers:
    return await _changed(service, tenant, {"disabled": True})


async def _changed(service: Service, tenant: Tenant, change: dict[str, Any]) -> Headers:
    member = await _second_admin(service, tenant)
    await _done(service.client.patch(f"/admin/users/{member.id}", json=change, headers=tenant.admin.headers))
    return member.headers


async def _logged_out(service: Service, tenant: Tenant) -> Headers:
    member = await _second_admin(service, tenant)
    await _done(service.client.post("/logout", headers=member.headers))
    return member.headers


async def _with_an_old_password(service: Service, tenant: Tenant) -> Headers:
    member = await _second_admin(service, tenant)
    change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}!"}
    await _done(service.client.put("/me/password", json=change, headers=member.headers))
    return member.headers


async def _key(service: Service, member: Member, scopes: list[str]) -> tuple[str, Headers]:
    body = {"name": "a machine", "scopes": scopes}
    made = (await _done(service.client.post("/api-keys", json=body, headers=member.headers))).json()
    return made["id"], {"Authorization": f"Bearer {made['key']}"}


async def _key_to_read(service: Service, tenant: Tenant) -> Headers:
    return (await _key(service, tenant.user, KEY_SCOPES["key_to_read"]))[1]


async def _key_to_write(service: Service, tenant: Tenant) -> Headers:
    return (await _key(service, tenant.user, KEY_SCOPES["key_to_write"]))[1]


async def _key_with_all(service: Service, tenant: Tenant) -> Headers:
    return (await _key(service, tenant.admin, KEY_SCOPES["key_with_all"]))[1]


async def _revoked_key(service: Service, tenant: Tenant) -> Headers:
    key_id, headers = await _key(service, tenant.admin, KEY_SCOPES["key_with_all"])
    await _done(service.client.get("/me", headers=headers))  # a process remembers a key that it has seen
    await _done(service.client.delete(f"/api-keys/{key_id}", headers=tenant.admin.headers))
    return headers


async def _done(call: Awaitable[httpx.Response]) -> httpx.Response:
    answer = await call
    assert answer.is_success, answer.text
    return answer


CALLERS: dict[str, Callable[[Service, Tenant], Awaitable[Headers]]] = {
    "anonymous": _anonymous,
    "admin": _admin,
    "user": _user,
    "colleague": _colleague,
    "key_to_read": _key_to_read,
    "key_to_write": _key_to_write,
    "key_with_all": _key_with_all,
    "deleted": _deleted,
    "demoted": _demoted,
    "disabled": _disabled,
    "logged_out": _logged_out,
    "with_an_old_password": _with_an_old_password,
    "revoked_key": _revoked_key,
}
