"""API keys: how machines call in the place of a user."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog
from sqlalchemy import Table, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from app.core.credentials import opaque_tokens
from app.core.errors import (
    AuthenticationError,
    DatabaseUnavailable,
    NotFound,
    PermissionDenied,
    TenantMoving,
    TimeIsPast,
    TooManyApiKeys,
    UnknownModel,
)
from app.core.ids import is_id, new_id
from app.core.principal import Principal, Role, Scope
from app.db import rls
from app.db.execution import Connection, Record
from app.db.failures import reason_of
from app.db.pagination import NewestFirst, Page, PageRequest, page_of, parameters
from app.db.session import TenantSession
from app.models import ApiKey, User
from app.models.rows import ApiKeyRow
from app.residency.claims import Claims
from app.residency.directory import Claim
from app.residency.places import Places
from app.services.audit_service import record_by
from app.services.period_budgets import FORGET as FORGET_BUDGETS
from app.services.session_service import SessionService

keys, users = cast("Table", ApiKey.__table__), cast("Table", User.__table__)

KEYS_PER_USER = 50
KNOWN_KEYS_KEPT = 10_000
SHOWN = [column for column in keys.c if column.name not in ("key_hash", "line_id")]
IN_TENANT = keys.c.tenant_id == bindparam("tenant_id")
OWN = keys.c.user_id == bindparam("user_id")
ALL_LISTED = NewestFirst(select(*SHOWN).where(IN_TENANT), keys)
OWN_LISTED = NewestFirst(select(*SHOWN).where(IN_TENANT, OWN), keys)
INSERTED = ("id", "tenant_id", "user_id", "name", "prefix", "key_hash", "scopes", "allowed_models", "expires_at")
INSERT = insert(ApiKey).values({name: bindparam(name) for name in INSERTED}).returning(*SHOWN)
# Takes turns with demoting, disabling and a new password, which end keys, and with the user's other new keys.
LOCK_MAKER = (
    select(users.c.id)
    .where(
        users.c.tenant_id == bindparam("tenant_id"),
        users.c.id == bindparam("user_id"),
        users.c.role == bindparam("role"),
        users.c.token_version == bindparam("version"),
        users.c.disabled_at.is_(None),
    )
    .with_for_update(key_share=True)
)
COUNT_OWN = select(func.count()).select_from(ApiKey).where(IN_TENANT, OWN)
REVOKE_ALL_KEYS = delete(ApiKey).where(IN_TENANT, OWN)
REVOKE_ADMIN_KEYS = REVOKE_ALL_KEYS.where(keys.c.scopes.contains(["admin"]))
LINE = func.coalesce(keys.c.line_id, keys.c.id)
REVOKE_ANY = delete(ApiKey).where(IN_TENANT, keys.c.id == bindparam("key_id")).returning(LINE)
REVOKE_OWN = REVOKE_ANY.where(OWN)
# Across tenants, by a SECURITY DEFINER function: a key names no tenant.
LOOKUP = text("SELECT id, tenant_id, user_id, scopes, allowed_models FROM api_key_lookup(:key_hash)")
# Who finds the row locked leaves the noting to the other.
NOTED_FOR_SECONDS = 60
NOTE_USE = text("""
UPDATE api_keys SET last_used_at = now() WHERE api_keys.tenant_id = :tenant_id AND api_keys.id = (
  SELECT k.id FROM api_keys k WHERE k.tenant_id = :tenant_id AND k.id = :key_id
    AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute') FOR UPDATE SKIP LOCKED
)
""")
logger = structlog.get_logger()


class KeyOwnerRow(Record):
    __slots__ = ()

    id: str
    tenant_id: str
    user_id: str
    scopes: list[Scope]
    allowed_models: list[str] | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """`secret` is shown this once."""

    row: ApiKeyRow
    secret: str


class ApiKeyService:
    """Keys of the caller's tenant: users have their own, admins see and revoke all.

    Only a session may make and revoke keys: a key that leaked cannot outlive its revocation in another.
    """

    def __init__(self, db: TenantSession, sessions: SessionService, claims: Claims, models: frozenset[str]) -> None:
        """`models`: public names, of which a key may be made for some."""
        self._db = db
        self._models = models
        self._sessions = sessions
        self._claims = claims
        self._caller = db.principal
        self._own = {"tenant_id": db.principal.tenant_id, "user_id": db.principal.user_id}

    async def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        expires_at: datetime | None,
        allowed_models: Sequence[str] | None = None,
    ) -> NewKey:
        """A key of the caller. It asks for these models, as far as its tenant allows them; None: for all of those.

        Raises:
            UnknownModel
            PermissionDenied: the scope `admin` of a user.
            TimeIsPast: it would have expired already.
            FreshLoginRequired: a token that somebody found makes nothing that outlives it.
            TooManyApiKeys
        """
        if "admin" in scopes and not self._caller.is_admin:
            raise PermissionDenied
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise TimeIsPast
        if not self._models.issuperset(allowed_models or ()):
            raise UnknownModel
        await self._sessions.require_fresh(self._db)
        secret, key_id = opaque_tokens.new_api_key(), new_id()
        claim = Claim("api_key", opaque_tokens.digest(secret), key_id)
        values = {
            **self._own,
            "id": key_id,
            "name": name,
            "prefix": secret[: opaque_tokens.SHOWN_CHARACTERS],
            "key_hash": claim.value,
            "scopes": sorted(set(scopes)),
            "allowed_models": None if allowed_models is None else sorted(set(allowed_models)),
            "expires_at": expires_at,
        }
        async with (
            self._claims.hold(self._caller.tenant_id, claim) as held,
            self._db.begin() as connection,
        ):
            await held.secure(connection)
            await require_room(connection, self._caller)
            row = (await connection.execute(INSERT, values, ApiKeyRow)).one()
            said = {field: values[field] for field in ("scopes", "allowed_models") if values[field] is not None}
            await record_by(self._db, connection, "api_key.created", key_id, name=name, **said)
        return NewKey(row, secret)

    async def list(self, page: PageRequest) -> Page[ApiKeyRow]:
        listed = ALL_LISTED if self._caller.is_admin else OWN_LISTED
        values = {**self._own, **parameters(page)}
        async with self._db.read() as connection:
            rows = (await connection.execute(listed.page(page), values, ApiKeyRow)).all()
        return page_of(rows, page)

    async def revoke(self, key_id: str) -> None:
        """End a key, at its next request; raises `NotFound`, also for a colleague's key."""
        if not is_id(key_id):
            raise NotFound
        statement = REVOKE_ANY if self._caller.is_admin else REVOKE_OWN
        async with self._db.begin() as connection:
            line = (await connection.execute(statement, {**self._own, "key_id": key_id})).scalar_one_or_none()
            if line is None:
                raise NotFound
            await connection.execute(FORGET_BUDGETS, {"tenant_id": self._own["tenant_id"], "line": line})
            await record_by(self._db, connection, "api_key.revoked", key_id)


async def require_room(connection: Connection, caller: Principal) -> None:
    """Raise `TooManyApiKeys`; who makes keys at once takes turns until its transaction ends."""
    own = {"tenant_id": caller.tenant_id, "user_id": caller.user_id}
    maker = {**own, "role": caller.role, "version": caller.token_version}
    if (await connection.execute(LOCK_MAKER, maker)).one_or_none() is None:
        raise AuthenticationError
    if (await connection.execute(COUNT_OWN, own)).scalar_one() >= KEYS_PER_USER:
        raise TooManyApiKeys


class ApiKeyAuthenticator:
    """From a key to its caller.

    What a key stands for never changes, so it is looked up once by a process and remembered; whether it still holds is
    asked of the database by the statement that enters the tenant, as of any caller.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        # With the moment after which a use is noted again.
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def principal_of(self, key: str) -> Principal:
        """The caller; raises `AuthenticationError`. Its use is noted, right to the minute."""
        if not opaque_tokens.is_api_key(key):
            raise AuthenticationError
        key_hash = opaque_tokens.digest(key)
        principal, note_after = self._known.get(key_hash) or (await self._look_up(key_hash), 0.0)
        if time.monotonic() < note_after:
            return principal
        self._known[key_hash] = principal, time.monotonic() + NOTED_FOR_SECONDS
        if len(self._known) > KNOWN_KEYS_KEPT:
            self._known.popitem(last=False)
        await self._note_use(principal)
        return principal

    async def _look_up(self, key_hash: str) -> Principal:
        database = (await self._places.of_key(key_hash)).database
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            found = (await connection.execute(LOOKUP, {"key_hash": key_hash}, KeyOwnerRow)).one_or_none()
        if found is None:
            raise AuthenticationError
        scopes = frozenset(found.scopes)
        role: Role = "admin" if "admin" in scopes else "user"
        models = None if found.allowed_models is None else frozenset(found.allowed_models)
        return Principal(found.user_id, found.tenant_id, role, 0, key_id=found.id, scopes=scopes, allowed_models=models)

    async def _note_use(self, principal: Principal) -> None:
        """In a transaction of its own: the request's would hold the row while it waits for others, who wait for it.

        A database that only reads keeps nobody from reading.
        """
        values = {"tenant_id": principal.tenant_id, "key_id": principal.key_id}
        database = (await self._places.of_caller(principal.tenant_id)).database
        try:
            async with database.session(rls.enter_as(principal), principal.tenant_id) as connection:
                await connection.execute(NOTE_USE, values)
        except AuthenticationError:
            if await self._places.has_moved(principal.tenant_id, database):
                raise TenantMoving from None
            raise
        except DatabaseUnavailable as error:
            logger.warning("key_use_not_noted", reason=reason_of(error))

    def forget_tenant(self, tenant_id: str) -> None:
        for key_hash in [known for known, (caller, _) in self._known.items() if caller.tenant_id == tenant_id]:
            del self._known[key_hash]
