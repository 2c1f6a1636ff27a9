"""Registration: how users come into a tenant on behalf of nobody in it."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

from sqlalchemy import Table, bindparam, select

from app.core.errors import InviteRequired, RegistrationClosed, TenantNotFound
from app.core.ids import is_id, new_id
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db import rls
from app.db.execution import Connection
from app.models import RegistrationMode, Tenant, UserRole
from app.models.rows import UserRow
from app.residency.directory import Claim
from app.residency.places import Places
from app.services.audit_service import Actor, record
from app.services.invite_service import InvitedByRow, accept, find_open
from app.services.user_service import insert_user, require_free

tenants = cast("Table", Tenant.__table__)

# The lock keeps the tenant from going (and only that) until the user is in it.
SELECT_TENANT = (
    select(tenants.c.registration)
    .where(tenants.c.id == bindparam("tenant_id"), tenants.c.erasing_at.is_(None))
    .with_for_update(read=True, key_share=True)
)


class RegistrationService:
    """Adds users to a tenant on behalf of nobody: registration, and operators."""

    def __init__(self, places: Places, passwords: PasswordHasher, origin: Origin) -> None:
        self._places = places
        self._passwords = passwords
        self._origin = origin

    async def register(self, tenant_id: str, email: str, password: str, invite: str | None = None) -> UserRow:
        """The new user, as the tenant's registration allows; an invite is used up in the same transaction.

        Raises:
            TenantNotFound, EmailTaken
            RegistrationClosed: nobody registers here.
            InviteRequired: without an open invite for this email nobody does, or the one that was sent is none.
        """
        return await self._add(tenant_id, email, password, UserRole.USER, invite, "anonymous")

    async def create_admin(self, tenant_id: str, email: str, password: str) -> UserRow:
        """An admin, by an operator of the service; raises `TenantNotFound`, `EmailTaken`."""
        return await self._add(tenant_id, email, password, UserRole.ADMIN, None, "operator")

    async def _add(
        self,
        tenant_id: str,
        email: str,
        password: str,
        role: UserRole,
        invite: str | None,
        actor_type: Literal["anonymous", "operator"],
    ) -> UserRow:
        if not is_id(tenant_id):
            raise TenantNotFound
        anonymous, user_id = actor_type == "anonymous", new_id()
        place = await self._places.of_tenant(tenant_id)
        async with place.database.session(rls.enter_tenant(tenant_id), tenant_id) as connection:
            await _admit(connection, tenant_id, email, invite, find_open, anonymous=anonymous)
            await require_free(connection, email)
        hashed = await self._passwords.hash(password, self._origin.site)
        async with (
            place.claims.hold(tenant_id, Claim("email", email, user_id)) as held,
            place.database.session(rls.enter_tenant(tenant_id), tenant_id) as connection,
        ):
            await held.secure(connection)
            used = await _admit(connection, tenant_id, email, invite, accept, anonymous=anonymous)
            invited = {"invited": invite is not None, **used}
            user = await insert_user(connection, tenant_id, email, hashed, role, user_id)
            actor = Actor(tenant_id, actor_type, self._origin)
            await record(connection, actor, "user.registered", user.id, role=role.value, **invited)
            return user


async def _admit(
    connection: Connection,
    tenant_id: str,
    email: str,
    invite: str | None,
    find: Callable[[Connection, str, str, str], Awaitable[InvitedByRow | None]],
    *,
    anonymous: bool,
) -> dict[str, Any]:
    """Raise unless the tenant takes who comes; what the audit log says of the invite."""
    mode = (await connection.execute(SELECT_TENANT, {"tenant_id": tenant_id})).scalar_one_or_none()
    if mode is None:
        raise TenantNotFound
    if not anonymous:
        return {}
    if mode == RegistrationMode.CLOSED:
        raise RegistrationClosed
    if invite is None:
        if mode == RegistrationMode.INVITE:
            raise InviteRequired
        return {}
    found = await find(connection, tenant_id, email, invite)
    if found is None:
        raise InviteRequired
    return {"invite_id": found.id, "invited_by": found.user_id}
