"""Invites: how an admin lets one email register."""

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from sqlalchemy import Interval, Table, bindparam, delete, func, select, text

from app.core.credentials import opaque_tokens
from app.core.errors import AuthenticationError, NotFound, TooManyInvites
from app.core.ids import is_id, new_id
from app.db.execution import Connection, Record
from app.db.pagination import NewestFirst, Page, PageRequest, page_of, parameters
from app.db.session import TenantSession
from app.models import Invite, User, UserRole
from app.models.rows import InviteRow
from app.services.audit_service import record_by
from app.services.user_service import LOCK_TENANT

invites, users = cast("Table", Invite.__table__), cast("Table", User.__table__)

OPEN_PER_TENANT = 1000

COLUMNS = ", ".join(InviteRow.columns())
OPEN = (invites.c.tenant_id == bindparam("tenant_id"), invites.c.expires_at > func.now())
LISTED = NewestFirst(select(*(invites.c[name] for name in InviteRow.columns())).where(*OPEN), invites)
# A second invite of an email takes the place of the first.
INVITE = text(f"""
INSERT INTO invites (id, tenant_id, user_id, email, token_hash, expires_at)
VALUES (:id, :tenant_id, :user_id, :email, :token_hash, now() + :life)
ON CONFLICT (tenant_id, email) DO UPDATE SET id = excluded.id, user_id = excluded.user_id,
  token_hash = excluded.token_hash, expires_at = excluded.expires_at, created_at = now(), updated_at = now()
WHERE invites.tenant_id = :tenant_id
RETURNING {COLUMNS}
""").bindparams(bindparam("life", type_=Interval))
REVOKE = delete(Invite).where(*OPEN, invites.c.id == bindparam("invite_id")).returning(invites.c.email)
REVOKE_ALL_INVITES = delete(Invite).where(
    invites.c.tenant_id == bindparam("tenant_id"), invites.c.user_id == bindparam("user_id")
)
# An invite is worth what its sender is: an admin who may let people in.
ADMINS = select(users.c.id).where(
    users.c.tenant_id == bindparam("tenant_id"), users.c.role == UserRole.ADMIN, users.c.disabled_at.is_(None)
)
IS_ADMIN = ADMINS.where(users.c.id == bindparam("user_id"))
OTHERS_OPEN = select(func.count()).select_from(Invite).where(*OPEN, invites.c.email != bindparam("email"))
GOOD = (
    *OPEN,
    invites.c.email == bindparam("email"),
    invites.c.token_hash == bindparam("token_hash"),
    invites.c.user_id.in_(ADMINS),
)
FIND_OPEN = select(invites.c.id, invites.c.user_id).where(*GOOD)
# Of any number of registrations at once, one finds it.
ACCEPT = delete(Invite).where(*GOOD).returning(invites.c.id, invites.c.user_id)


class InvitedByRow(Record):
    """An invite, and who sent it."""

    __slots__ = ()

    id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class NewInvite:
    """`token` is shown this once."""

    row: InviteRow
    token: str


class InviteService:
    """Open invites of the caller's tenant."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id

    async def create(self, email: str, life: timedelta) -> NewInvite:
        """An invite in the place of the one that the email may have; raises `TooManyInvites`."""
        token, invite_id = opaque_tokens.new_invite_token(), new_id()
        values = {
            "id": invite_id,
            "tenant_id": self._tenant_id,
            "user_id": self._db.principal.user_id,
            "email": email,
            "token_hash": opaque_tokens.digest(token),
            "life": life,
        }
        async with self._db.begin() as connection:
            await self._require_room(connection, email)
            row = (await connection.execute(INVITE, values, InviteRow)).one()
            await record_by(self._db, connection, "invite.created", invite_id, email=email)
        return NewInvite(row, token)

    async def _require_room(self, connection: Connection, email: str) -> None:
        sender = {"tenant_id": self._tenant_id, "user_id": self._db.principal.user_id}
        await connection.execute(LOCK_TENANT, {"tenant_id": self._tenant_id})
        if (await connection.execute(IS_ADMIN, sender)).one_or_none() is None:  # demoted while this waited
            raise AuthenticationError
        count = (await connection.execute(OTHERS_OPEN, {"tenant_id": self._tenant_id, "email": email})).scalar_one()
        if count >= OPEN_PER_TENANT:
            raise TooManyInvites

    async def list(self, page: PageRequest) -> Page[InviteRow]:
        statement = LISTED.page(page)
        async with self._db.read() as connection:
            rows = (
                await connection.execute(statement, {"tenant_id": self._tenant_id, **parameters(page)}, InviteRow)
            ).all()
        return page_of(rows, page)

    async def revoke(self, invite_id: str) -> None:
        """Take an open invite back; raises `NotFound`."""
        if not is_id(invite_id):
            raise NotFound
        values = {"tenant_id": self._tenant_id, "invite_id": invite_id}
        async with self._db.begin() as connection:
            email = (await connection.execute(REVOKE, values)).scalar_one_or_none()
            if email is None:
                raise NotFound
            await record_by(self._db, connection, "invite.revoked", invite_id, email=email)


async def find_open(connection: Connection, tenant_id: str, email: str, token: str) -> InvitedByRow | None:
    """As `accept`, and nothing is used up."""
    values = {"tenant_id": tenant_id, "email": email, "token_hash": opaque_tokens.digest(token)}
    return (await connection.execute(FIND_OPEN, values, InvitedByRow)).one_or_none()


async def accept(connection: Connection, tenant_id: str, email: str, token: str) -> InvitedByRow | None:
    """Use up the invite of an email in the present transaction: its `id` and its sender's `user_id`.

    None if the token is not that of an open one, or its sender is no admin any more.
    """
    values = {"tenant_id": tenant_id, "email": email, "token_hash": opaque_tokens.digest(token)}
    return (await connection.execute(ACCEPT, values, InvitedByRow)).one_or_none()
