"""The kinds of callers, each made from a tenant: a new one is a line in `CALLERS` that makes its headers.

What an operation's access means for it stands in `app/verification/callers.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from app.verification.callers import KEY_SCOPES
from tests.helpers import PASSWORD, Member, Tenant, join, log_in, unique_email
from tests.isolation.resources import Service

Headers = dict[str, str]


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
