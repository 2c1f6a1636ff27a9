"""Users of a tenant: registration, and what admins do with them."""

from typing import Any, Literal, cast

from sqlalchemy import Row, Select, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import (
    AuthenticationError,
    EmailTaken,
    InviteRequired,
    NotFound,
    RegistrationClosed,
    TenantNotFound,
)
from app.core.ids import is_id, new_id
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db import rls
from app.db.session import Database, TenantSession
from app.models import RegistrationMode, Tenant, User, UserRole
from app.services import idempotency
from app.services.audit_service import Actor, record, record_by
from app.services.idempotency import IdempotentRequest
from app.services.invite_service import accept
from app.services.pagination import Page, PageRequest, newest_first, page_of, parameters

tenants, users = cast("Table", Tenant.__table__), cast("Table", User.__table__)

# Never hashed_password: the runtime role may not even select it.
PUBLIC_COLUMNS = tuple(users.c[name] for name in ("id", "email", "role", "tenant_id", "disabled_at", "created_at"))

# The lock keeps the tenant from going (and only that) until the user is in it.
SELECT_TENANT = (
    select(tenants.c.registration)
    .where(tenants.c.id == bindparam("tenant_id"), tenants.c.erasing_at.is_(None))
    .with_for_update(read=True, key_share=True)
)
SELECT_USER: Select[Any] = select(*PUBLIC_COLUMNS).where(
    users.c.tenant_id == bindparam("tenant_id"), users.c.id == bindparam("id")
)
USERS_BY_OFFSET, USERS_BY_CURSOR = newest_first(
    select(*PUBLIC_COLUMNS).where(users.c.tenant_id == bindparam("tenant_id")), users
)
INSERT_USER = (
    insert(User)
    .values({name: bindparam(name) for name in ("id", "email", "hashed_password", "role", "tenant_id")})
    .on_conflict_do_nothing(index_elements=["email"])
    .returning(*PUBLIC_COLUMNS)
)


async def insert_user(
    connection: AsyncConnection, tenant_id: str, email: str, hashed_password: str, role: UserRole, user_id: str = ""
) -> Row[Any]:
    """Insert into the tenant that the transaction is in; raises `EmailTaken`."""
    values = {
        "id": user_id or new_id(),
        "email": email,
        "hashed_password": hashed_password,
        "role": role.value,
        "tenant_id": tenant_id,
    }
    user = (await connection.execute(INSERT_USER, values)).one_or_none()
    if user is None:
        raise EmailTaken
    return user


class RegistrationService:
    """Adds users to a tenant on behalf of nobody: registration, and operators."""

    def __init__(self, database: Database, passwords: PasswordHasher, origin: Origin) -> None:
        self._database = database
        self._passwords = passwords
        self._origin = origin

    async def register(self, tenant_id: str, email: str, password: str, invite: str | None = None) -> Row[Any]:
        """The new user, as the tenant's registration allows; an invite is used up in the same transaction.

        Raises:
            TenantNotFound, EmailTaken
            RegistrationClosed: nobody registers here.
            InviteRequired: without an open invite for this email nobody does, or the one that was sent is none.
        """
        return await self._add(tenant_id, email, password, UserRole.USER, invite, "anonymous")

    async def create_admin(self, tenant_id: str, email: str, password: str) -> Row[Any]:
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
    ) -> Row[Any]:
        if not is_id(tenant_id):
            raise TenantNotFound
        hashed = await self._passwords.hash(password)
        async with self._database.session(rls.enter_tenant(tenant_id)) as connection:
            mode = (await connection.execute(SELECT_TENANT, {"tenant_id": tenant_id})).scalar_one_or_none()
            if mode is None:
                raise TenantNotFound
            if actor_type == "anonymous":
                await _admit(connection, mode, tenant_id, email, invite)
            user = await insert_user(connection, tenant_id, email, hashed, role)
            actor = Actor(tenant_id, actor_type, self._origin)
            await record(connection, actor, "user.registered", user.id, role=role.value, invited=invite is not None)
            return user


async def _admit(connection: AsyncConnection, mode: str, tenant_id: str, email: str, invite: str | None) -> None:
    if mode == RegistrationMode.CLOSED:
        raise RegistrationClosed
    if invite is None:
        if mode == RegistrationMode.INVITE:
            raise InviteRequired
    elif not await accept(connection, tenant_id, email, invite):
        raise InviteRequired


class UserService:
    """Users of the caller's tenant."""

    def __init__(self, db: TenantSession, passwords: PasswordHasher) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._passwords = passwords

    async def me(self) -> Row[Any]:
        identity = {"tenant_id": self._tenant_id, "id": self._db.principal.user_id}
        async with self._db.begin() as connection:
            user: Row[Any] | None = (await connection.execute(SELECT_USER, identity)).one_or_none()
        if user is None:
            raise AuthenticationError
        return user

    async def create(
        self, email: str, password: str, role: UserRole, request: IdempotentRequest | None = None
    ) -> Row[Any]:
        """The new user of the caller's tenant; raises `EmailTaken`, `NotFound` if the key made one that is gone."""
        user_id = new_id()
        hashed = await self._passwords.hash(password)
        async with self._db.begin() as connection:
            if made_before := await idempotency.claim(connection, self._db.principal, request, user_id):
                made = await connection.execute(SELECT_USER, {"tenant_id": self._tenant_id, "id": made_before})
                user: Row[Any] | None = made.one_or_none()
                if user is None:  # deleted since
                    raise NotFound
                return user
            made_now = await insert_user(connection, self._tenant_id, email, hashed, role, user_id)
            await record_by(self._db, connection, "user.created", user_id, role=role.value)
            return made_now

    async def list(self, page: PageRequest) -> Page:
        statement = USERS_BY_OFFSET if page.cursor is None else USERS_BY_CURSOR
        values = {"tenant_id": self._tenant_id, **parameters(page)}
        async with self._db.begin() as connection:
            rows = (await connection.execute(statement, values)).all()
        return page_of(rows, page)
