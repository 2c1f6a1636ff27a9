"""Users of a tenant: the caller itself, and all of them to look at."""

from typing import Any, cast

from sqlalchemy import Select, Table, bindparam, select, text
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import AuthenticationError, EmailTaken
from app.core.ids import new_id
from app.db.execution import Connection
from app.db.pagination import NewestFirst, Page, PageRequest, page_of, parameters
from app.db.session import TenantSession
from app.models import User, UserRole
from app.models.rows import UserRow
from app.services.audit_tally import AuditTally

users = cast("Table", User.__table__)

# Never hashed_password: the runtime role may not even select it.
PUBLIC_COLUMNS = [users.c[name] for name in UserRow.columns()]

# Changes of admins take turns, and with what admins hand out: two who demote each other at once would leave none.
LOCK_TENANT = text("SELECT tenants.id FROM tenants WHERE tenants.id = :tenant_id FOR NO KEY UPDATE")
SELECT_USER: Select[Any] = select(*PUBLIC_COLUMNS).where(
    users.c.tenant_id == bindparam("tenant_id"), users.c.id == bindparam("id")
)
USERS_LISTED = NewestFirst(select(*PUBLIC_COLUMNS).where(users.c.tenant_id == bindparam("tenant_id")), users)
# Across tenants, by a SECURITY DEFINER function: an email is one user's, wherever.
EMAIL_TAKEN = text("SELECT email_taken(:email)")
INSERT_USER = (
    insert(User)
    .values({name: bindparam(name) for name in ("id", "email", "hashed_password", "role", "tenant_id")})
    .on_conflict_do_nothing(index_elements=["email"])
    .returning(*PUBLIC_COLUMNS)
)


async def require_free(connection: Connection, email: str) -> None:
    """Raise `EmailTaken`: before a password is hashed in vain. Whether it still is free, inserting decides."""
    if (await connection.execute(EMAIL_TAKEN, {"email": email})).scalar_one():
        raise EmailTaken


async def insert_user(
    connection: Connection, tenant_id: str, email: str, hashed_password: str, role: UserRole, user_id: str = ""
) -> UserRow:
    """Insert into the tenant that the transaction is in; raises `EmailTaken`."""
    values = {
        "id": user_id or new_id(),
        "email": email,
        "hashed_password": hashed_password,
        "role": role.value,
        "tenant_id": tenant_id,
    }
    user = (await connection.execute(INSERT_USER, values, UserRow)).one_or_none()
    if user is None:
        raise EmailTaken
    return user


class ProfileService:
    """The caller itself."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db

    async def me(self) -> UserRow:
        identity = {"tenant_id": self._db.principal.tenant_id, "id": self._db.principal.user_id}
        async with self._db.begin() as connection:
            user = (await connection.execute(SELECT_USER, identity, UserRow)).one_or_none()
        if user is None:
            raise AuthenticationError
        return user


class UserService:
    """Users of the caller's tenant, to look at."""

    def __init__(self, db: TenantSession, tally: AuditTally) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._tally = tally

    async def list(self, page: PageRequest) -> Page[UserRow]:
        self._tally.count(self._tenant_id, "users.read", self._db.principal.user_id, self._db.origin)
        statement = USERS_LISTED.page(page)
        values = {"tenant_id": self._tenant_id, **parameters(page)}
        async with self._db.read() as connection:
            rows = (await connection.execute(statement, values, UserRow)).all()
        return page_of(rows, page)
