"""Users of a tenant: registration, creation by an admin, and listing."""

from typing import Any, cast

from sqlalchemy import Row, Select, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import AuthenticationError, EmailTaken, TenantNotFound
from app.core.ids import is_id, new_id
from app.core.security import PasswordHasher
from app.db import rls
from app.db.session import Database, TenantSession
from app.models import Tenant, User, UserRole
from app.services import idempotency
from app.services.idempotency import IdempotentRequest
from app.services.pagination import Page, PageRequest, newest_first, page_of, parameters

tenants, users = cast("Table", Tenant.__table__), cast("Table", User.__table__)

# Never hashed_password: the runtime role may not even select it.
PUBLIC_COLUMNS = (users.c.id, users.c.email, users.c.role, users.c.tenant_id, users.c.created_at)

SELECT_TENANT = select(tenants.c.id).where(tenants.c.id == bindparam("tenant_id"))
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
    """Adds users to a tenant on behalf of nobody: the open registration, and operators."""

    def __init__(self, database: Database, passwords: PasswordHasher) -> None:
        self._database = database
        self._passwords = passwords

    async def register(self, tenant_id: str, email: str, password: str, role: UserRole = UserRole.USER) -> Row[Any]:
        """The new user.

        Raises:
            TenantNotFound, EmailTaken
        """
        if not is_id(tenant_id):
            raise TenantNotFound
        hashed = await self._passwords.hash(password)
        async with self._database.session(rls.enter_tenant(tenant_id)) as connection:
            if (await connection.execute(SELECT_TENANT, {"tenant_id": tenant_id})).one_or_none() is None:
                raise TenantNotFound
            return await insert_user(connection, tenant_id, email, hashed, role)


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
        """The new user of the caller's tenant; raises `EmailTaken`."""
        user_id = new_id()
        hashed = await self._passwords.hash(password)
        async with self._db.begin() as connection:
            if made_before := await idempotency.claim(connection, self._db.principal, request, user_id):
                made = await connection.execute(SELECT_USER, {"tenant_id": self._tenant_id, "id": made_before})
                user: Row[Any] = made.one()
                return user
            return await insert_user(connection, self._tenant_id, email, hashed, role, user_id)

    async def list(self, page: PageRequest) -> Page:
        statement = USERS_BY_OFFSET if page.cursor is None else USERS_BY_CURSOR
        values = {"tenant_id": self._tenant_id, **parameters(page)}
        async with self._db.begin() as connection:
            rows = (await connection.execute(statement, values)).all()
        return page_of(rows, page)
