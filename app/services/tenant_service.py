"""Tenants: creation, alone or with a first admin, and their settings."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import (
    AuthenticationError,
    InvalidEventWebhookUrl,
    InvalidWebhookUrl,
    OperatorTokenRequired,
    TenantNameTaken,
    UnknownModel,
)
from app.core.ids import new_id
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db import rls
from app.db.failures import IntegrityViolation, violates
from app.db.session import TenantSession
from app.models import RegistrationMode, Tenant, UserRole
from app.models.rows import NewTenantRow, TenantRow, UserRow
from app.residency.claims import Claims
from app.residency.directory import Claim
from app.residency.places import Place, Places
from app.services.audit_service import Actor, record, record_by
from app.services.user_service import insert_user, require_free

tenants = Tenant.__table__
ActorType = Literal["anonymous", "operator"]

INSERT_TENANT = (
    insert(Tenant)
    .values({name: bindparam(name) for name in ("id", "name", "registration")})
    .on_conflict_do_nothing(index_elements=["name"])
    .returning(*(tenants.c[name] for name in NewTenantRow.columns()))
)
# Across tenants, by a SECURITY DEFINER function.
NAME_TAKEN = text("SELECT tenant_name_taken(:name)")
# Said again, it holds since it was said first.
STILL_SINCE = text(
    "CASE WHEN tenants.message_retention_days = 0 THEN COALESCE(tenants.nothing_kept_since, now()) ELSE now() END"
)
SHOWN = [tenants.c[name] for name in TenantRow.columns()]
SELECT_TENANT = select(*SHOWN).where(tenants.c.id == bindparam("tenant_id"))


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    email: str
    password: str


@dataclass(frozen=True, slots=True)
class CreationPolicy:
    """Who may create tenants (`operator_token` None: everybody), and who may register in a new one."""

    operator_token: str | None = None
    registration: str = RegistrationMode.OPEN.value


class TenantService:
    """Creates tenants."""

    def __init__(
        self,
        places: Places,
        passwords: PasswordHasher,
        origin: Origin,
        policy: CreationPolicy = CreationPolicy(),
    ) -> None:
        self._places = places
        self._passwords = passwords
        self._origin = origin
        self._policy = policy

    async def create(
        self,
        name: str,
        admin: FirstAdmin | None = None,
        operator_token: str | None = None,
        region: str | None = None,
    ) -> tuple[NewTenantRow, UserRow | None]:
        """The tenant and its first admin, both stored in the region (None: the first) or neither.

        Raises:
            UnknownRegion
            OperatorTokenRequired: tenants are the operator's to create, and the token is not the operator's.
            TenantNameTaken, EmailTaken
        """
        expected = self._policy.operator_token
        if expected is not None and not _same(operator_token, expected):
            raise OperatorTokenRequired
        actor_type: ActorType = "anonymous" if expected is None else "operator"
        return await self._create(self._places.chosen(region), name, admin, actor_type)

    async def create_by_operator(
        self, name: str, admin: FirstAdmin, region: str | None = None
    ) -> tuple[NewTenantRow, UserRow | None]:
        """As `create`, by an operator on the command line."""
        return await self._create(self._places.chosen(region), name, admin, "operator")

    async def _create(
        self, place: Place, name: str, admin: FirstAdmin | None, actor_type: ActorType
    ) -> tuple[NewTenantRow, UserRow | None]:
        tenant_id, admin_id = new_id(), new_id()
        actor = Actor(tenant_id, actor_type, self._origin)
        hashed = await self._hash_unless_taken(place, name, admin) if admin else ""
        unique = [Claim("tenant_name", name, tenant_id)]
        if admin is not None:
            unique.append(Claim("email", admin.email, admin_id))
        async with (
            place.claims.hold(tenant_id, *unique) as held,
            place.database.session(rls.enter_tenant(tenant_id)) as connection,
        ):
            await held.secure(connection)
            values = {"id": tenant_id, "name": name, "registration": self._policy.registration}
            tenant = (await connection.execute(INSERT_TENANT, values, NewTenantRow)).one_or_none()
            if tenant is None:
                raise TenantNameTaken
            await record(connection, actor, "tenant.created", tenant_id)
            if admin is None:
                return tenant, None
            user = await insert_user(connection, tenant_id, admin.email, hashed, UserRole.ADMIN, admin_id)
            await record(connection, actor, "user.created", user.id, role=UserRole.ADMIN.value)
            return tenant, user

    async def _hash_unless_taken(self, place: Place, name: str, admin: FirstAdmin) -> str:
        async with place.database.session(rls.ENTER_NO_TENANT) as connection:
            if (await connection.execute(NAME_TAKEN, {"name": name})).scalar_one():
                raise TenantNameTaken
            await require_free(connection, admin.email)
        return await self._passwords.hash(admin.password, self._origin.site)


class TenantSettingsService:
    """The caller's tenant itself."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id

    async def get(self) -> TenantRow:
        async with self._db.begin() as connection:
            found = await connection.execute(SELECT_TENANT, {"tenant_id": self._tenant_id}, TenantRow)
            return _still_there(found.one_or_none())


class TenantAdminService(TenantSettingsService):
    """As `TenantSettingsService`, for who may change them."""

    def __init__(
        self, db: TenantSession, claims: Claims, models: frozenset[str], check_url: Callable[[str], str]
    ) -> None:
        super().__init__(db)
        self._claims = claims
        self._models = models
        self._check_url = check_url

    async def change(self, changes: dict[str, Any]) -> TenantRow:
        """Set some of the settings; raises `TenantNameTaken`, `UnknownModel`, `InvalidEventWebhookUrl`.

        Naming `cache_ttl_seconds`, or the models that are allowed, or keeping nothing, forgets what was kept.
        """
        if not changes:
            return await self.get()
        named = [*(changes.get("allowed_models") or ()), *filter(None, [changes.get("default_model")])]
        if not self._models.issuperset(named):
            raise UnknownModel
        if (url := changes.get("event_webhook_url")) is not None:
            changes = {**changes, "event_webhook_url": self._checked(url)}
        unkept = changes.get("message_retention_days") == 0
        forgets = "cache_ttl_seconds" in changes or "allowed_models" in changes or unkept
        values = {**changes, "cache_epoch": new_id()} if forgets else changes
        if unkept:
            values["nothing_kept_since"] = STILL_SINCE
        statement = update(Tenant).where(tenants.c.id == bindparam("tenant_id")).values(values).returning(*SHOWN)
        unique = [Claim("tenant_name", changes["name"], self._tenant_id)] if "name" in changes else []
        async with self._claims.hold(self._tenant_id, *unique) as held, self._db.begin() as connection:
            await held.secure(connection)
            try:
                changed = await connection.execute(statement, {"tenant_id": self._tenant_id}, TenantRow)
            except IntegrityViolation as error:
                if violates(error, "uq_tenants_name"):
                    raise TenantNameTaken from None
                raise
            tenant = _still_there(changed.one_or_none())
            await record_by(self._db, connection, "tenant.changed", self._tenant_id, **changes)
            return tenant

    def _checked(self, url: str) -> str:
        try:
            return self._check_url(url)
        except InvalidWebhookUrl:
            raise InvalidEventWebhookUrl from None


def _still_there(tenant: TenantRow | None) -> TenantRow:
    if tenant is None:  # deleted since the transaction began
        raise AuthenticationError
    return tenant


def _same(given: str | None, expected: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())
