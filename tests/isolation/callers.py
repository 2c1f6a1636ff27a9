"""The kinds of callers, each made from a tenant, and what an operation's access means for them.

Here, and here alone, a new kind is plugged in: a line in `CALLERS` that makes its headers, and one in `status_for`.
"""

from collections.abc import Awaitable, Callable

from tests.helpers import PASSWORD, Member, Tenant, join, log_in, unique_email
from tests.isolation.operations import Access, Operation
from tests.isolation.resources import Service

Headers = dict[str, str]
# They hold a token that was an admin's: so that what refuses them is the database, not the role in the token.
LOST = ("deleted", "demoted")


def status_for(kind: str, operation: Operation) -> int:
    """What the table promises to this kind of caller, for a thing of the caller's own tenant."""
    if kind in operation.answers:
        return operation.answers[kind]
    if operation.access is Access.OPEN:
        return operation.ok
    if kind == "anonymous" or kind in LOST:
        return 401
    allowed = {
        "admin": set(Access),
        "user": {Access.MEMBER, Access.OWNER},
        "colleague": {Access.MEMBER},
    }[kind]
    return operation.ok if operation.access in allowed else 403


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
    await service.superuser.execute("DELETE FROM users WHERE id = $1", member.id)
    return member.headers


async def _demoted(service: Service, tenant: Tenant) -> Headers:
    member = await _second_admin(service, tenant)
    await service.superuser.execute("UPDATE users SET role = 'user' WHERE id = $1", member.id)
    return member.headers


CALLERS: dict[str, Callable[[Service, Tenant], Awaitable[Headers]]] = {
    "anonymous": _anonymous,
    "admin": _admin,
    "user": _user,
    "colleague": _colleague,
    "deleted": _deleted,
    "demoted": _demoted,
}
