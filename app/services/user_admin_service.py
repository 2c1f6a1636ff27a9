"""What admins do to the users of their tenant: creation, roles, disabling, deletion."""

from typing import Any

from sqlalchemy import bindparam, case, delete, func, null, select, update

from app.core.errors import LastAdmin, NotFound
from app.core.ids import is_id, new_id
from app.core.security import PasswordHasher
from app.db.batches import until_done
from app.db.execution import Connection
from app.db.session import TenantSession
from app.messages.idempotency import IdempotencyKeys, IdempotentRequest
from app.messages.owned_content import UserContent
from app.models import User, UserRole
from app.models.rows import UserRow
from app.residency.claims import Claims
from app.residency.directory import Claim
from app.services.api_key_service import REVOKE_ADMIN_KEYS, REVOKE_ALL_KEYS
from app.services.audit_service import record_by
from app.services.invite_service import REVOKE_ALL_INVITES
from app.services.session_service import END_ALL
from app.services.user_service import LOCK_TENANT, SELECT_USER, insert_user, require_free

users = User.__table__

OF_USER = (users.c.tenant_id == bindparam("in_tenant"), users.c.id == bindparam("of_user"))
# Another version, so that a token of the old role stays refused when the role comes back.
SET_ROLE = (
    update(User)
    .where(*OF_USER, users.c.role != bindparam("new_role"))
    .values(role=bindparam("new_role"), token_version=users.c.token_version + 1)
)
# Disabling somebody twice keeps the first moment.
SET_DISABLED = (
    update(User)
    .where(*OF_USER)
    .values(disabled_at=case((bindparam("disabled"), func.coalesce(users.c.disabled_at, func.now())), else_=null()))
)
REMOVE = delete(User).where(*OF_USER)
ADMINS = (
    select(func.count())
    .select_from(User)
    .where(users.c.tenant_id == bindparam("tenant_id"), users.c.role == "admin", users.c.disabled_at.is_(None))
)


class UserAdminService:
    """The users of the caller's tenant; at least one enabled admin stays."""

    def __init__(self, db: TenantSession, passwords: PasswordHasher, keys: IdempotencyKeys, claims: Claims) -> None:
        self._db = db
        self._keys = keys
        self._tenant_id = db.principal.tenant_id
        self._passwords = passwords
        self._claims = claims

    async def create(
        self, email: str, password: str, role: UserRole, request: IdempotentRequest | None = None
    ) -> UserRow:
        """The new user of the caller's tenant; raises `EmailTaken`, `NotFound` if the key made one that is gone."""
        user_id, caller = new_id(), self._db.principal
        async with self._db.begin() as connection:
            if made_before := await self._keys.look(connection, caller, request):
                return await self._find(connection, made_before)
            await require_free(connection, email)
        hashed = await self._passwords.hash(password, self._tenant_id)
        async with (
            self._claims.hold(self._tenant_id, Claim("email", email, user_id)) as held,
            self._db.begin() as connection,
        ):
            await held.secure(connection)
            if made_before := await self._keys.claim(connection, caller, request, user_id):
                return await self._find(connection, made_before)
            made_now = await insert_user(connection, self._tenant_id, email, hashed, role, user_id)
            await record_by(self._db, connection, "user.created", user_id, role=role.value)
            return made_now

    async def change(self, user_id: str, role: UserRole | None, disabled: bool | None) -> UserRow:
        """Set role and disabling (None: as it is), in force at the user's next request.

        What the user made in the old role or before it was disabled ends with it, and does not come back.

        Raises:
            NotFound
            LastAdmin: no enabled admin would be left.
        """
        async with self._db.begin() as connection:
            before = await self._lock_and_find(connection, user_id)
            if role is not None:
                await connection.execute(SET_ROLE, {**self._of(user_id), "new_role": role.value})
            if disabled is not None:
                await connection.execute(SET_DISABLED, {**self._of(user_id), "disabled": disabled})
            if _is_admin(before):
                await self._require_admin(connection)
            identity = {"tenant_id": self._tenant_id, "id": user_id}
            after = (await connection.execute(SELECT_USER, identity, UserRow)).one()
            if changes := _changes(before, after):
                await self._end_what_it_made(connection, user_id, changes)
                await record_by(self._db, connection, "user.changed", user_id, **changes)
            return after

    async def delete(self, user_id: str) -> None:
        """Delete a user with its messages, conversations, sessions and keys; what it used stays in the usage.

        If the database goes away in the middle, the user is left disabled, and the same request again goes on.

        Raises:
            NotFound
            LastAdmin: no enabled admin would be left.
        """
        email = await self._delete(user_id, UserContent(self._tenant_id, user_id))
        await self._claims.release(Claim("email", email, user_id))

    async def _delete(self, user_id: str, content: UserContent) -> str:
        async with self._db.begin_long() as connection:
            user = await self._lock_and_find(connection, user_id)
            email: str = user.email
            await record_by(self._db, connection, "user.deleted", user_id, email=email)
            if await self._delete_some(connection, user, content):
                return email
            # Too much for one transaction: from its commit on the user does nothing any more.
            await connection.execute(SET_DISABLED, {**self._of(user_id), "disabled": True})
            if _is_admin(user):
                await self._require_admin(connection)
            await self._end_what_it_made(connection, user_id, {"disabled": True})

        async def go_on(connection: Connection) -> bool:
            try:
                user = await self._lock_and_find(connection, user_id)
            except NotFound:
                return True  # another request was faster
            return await self._delete_some(connection, user, content)

        await until_done(self._db, go_on)
        return email

    async def _delete_some(self, connection: Connection, user: UserRow, content: UserContent) -> bool:
        """Whether the user is gone: it goes with the last of its content."""
        if not await content.delete_some(connection):
            return False
        await connection.execute(REMOVE, self._of(user.id))
        if _is_admin(user):
            await self._require_admin(connection)
        return True

    async def _lock_and_find(self, connection: Connection, user_id: str) -> UserRow:
        if not is_id(user_id):
            raise NotFound
        await connection.execute(LOCK_TENANT, {"tenant_id": self._tenant_id})
        return await self._find(connection, user_id)

    async def _find(self, connection: Connection, user_id: str) -> UserRow:
        found = await connection.execute(SELECT_USER, {"tenant_id": self._tenant_id, "id": user_id}, UserRow)
        user = found.one_or_none()
        if user is None:
            raise NotFound
        return user

    async def _end_what_it_made(self, connection: Connection, user_id: str, changes: dict[str, Any]) -> None:
        """In both directions: what an earlier demotion or disabling may have left must not revive."""
        owner = {"tenant_id": self._tenant_id, "user_id": user_id}
        await connection.execute(REVOKE_ALL_INVITES, owner)
        if "disabled" in changes:
            await connection.execute(END_ALL, owner)
            await connection.execute(REVOKE_ALL_KEYS, owner)
        else:
            await connection.execute(REVOKE_ADMIN_KEYS, owner)

    async def _require_admin(self, connection: Connection) -> None:
        if not (await connection.execute(ADMINS, {"tenant_id": self._tenant_id})).scalar_one():
            raise LastAdmin

    def _of(self, user_id: str) -> dict[str, str]:
        return {"in_tenant": self._tenant_id, "of_user": user_id}


def _is_admin(user: UserRow) -> bool:
    return bool(user.role == UserRole.ADMIN and user.disabled_at is None)


def _changes(before: UserRow, after: UserRow) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if before.role != after.role:
        changes["role"] = after.role
    if (before.disabled_at is None) != (after.disabled_at is None):
        changes["disabled"] = after.disabled_at is not None
    return changes
