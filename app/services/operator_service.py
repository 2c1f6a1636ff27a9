"""What the operator of the service decides about a tenant, on the command line, over the heads of its admins."""

from sqlalchemy import BigInteger, bindparam, text

from app.core.errors import NotFound, TenantNotFound
from app.core.ids import is_id
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db import rls
from app.db.provision import owner_connection
from app.db.session import Database
from app.residency.places import Places
from app.services.api_key_service import REVOKE_ALL_KEYS
from app.services.audit_service import Actor, record
from app.services.auth_service import AUTH_LOOKUP, CHANGE_PASSWORD
from app.services.budget_service import count_from_now_on
from app.services.session_service import END_ALL

NO_SUCH_USER = "No user who is enabled has this email."
TENANT_EXISTS = text("SELECT tenants.id FROM tenants WHERE tenants.id = :tenant_id FOR KEY SHARE")
# It notes the act in the audit log itself.
SET_CEILING = text("SELECT set_tenant_ceiling(:tenant_id, :ceiling)").bindparams(bindparam("ceiling", type_=BigInteger))
# Row-level security holds the owner too, and deleting would end none; truncating asks for the table's owner alone.
END_SESSIONS = text("TRUNCATE sessions")
REVOKE_KEYS = text("TRUNCATE api_keys")


class OperatorService:
    """`owner_url`: of the login that migrates. The runtime's may not do what is done here."""

    def __init__(self, database: Database, owner_url: str) -> None:
        self._database = database
        self._owner_url = owner_url

    async def set_ceiling(self, tenant_id: str, micro_usd: int | None) -> None:
        """Bound what the tenant spends in a month, from now on (None: as the settings bound all).

        Raises:
            TenantNotFound
            PermissionDenied: the login is the runtime's.
        """
        if not is_id(tenant_id):
            raise TenantNotFound
        async with self._database.session(rls.enter_tenant(tenant_id)) as connection:
            if (await connection.execute(TENANT_EXISTS, {"tenant_id": tenant_id})).one_or_none() is None:
                raise TenantNotFound
            await count_from_now_on(connection, tenant_id)
        async with owner_connection(self._owner_url) as owner:
            values = {"tenant_id": tenant_id, "ceiling": micro_usd}
            if not (await owner.execute(SET_CEILING, values)).scalar_one():
                raise TenantNotFound


async def end_all_access(owner_url: str, *, api_keys: bool) -> None:
    """End every session, and with `api_keys` every key, of all tenants; raises `PermissionDenied` for the runtime."""
    async with owner_connection(owner_url) as owner:
        await owner.execute(END_SESSIONS)
        if api_keys:
            await owner.execute(REVOKE_KEYS)


async def replace_password(
    places: Places, passwords: PasswordHasher, email: str, password: str, *, keep_keys: bool
) -> str:
    """Set a user's password, and end its sessions and (unless they are kept) its API keys; its id.

    Raises:
        NotFound: nobody who is enabled has the email, or it changed meanwhile.
    """
    database = (await places.of_email(email)).database
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        account = (await connection.execute(AUTH_LOOKUP, {"email": email})).one_or_none()
    if account is None:
        raise NotFound(NO_SUCH_USER)
    hashed = await passwords.hash(password)
    owner = {"tenant_id": account.tenant_id, "user_id": account.id}
    values = {"in_tenant": account.tenant_id, "of_user": account.id, "version": account.token_version, "hashed": hashed}
    async with database.session(rls.enter_tenant(account.tenant_id)) as connection:
        if (await connection.execute(CHANGE_PASSWORD, values)).one_or_none() is None:
            raise NotFound(NO_SUCH_USER)
        await connection.execute(END_ALL, owner)
        if not keep_keys:
            await connection.execute(REVOKE_ALL_KEYS, owner)
        actor = Actor(account.tenant_id, "operator", Origin())
        await record(connection, actor, "user.password_changed", account.id, api_keys_kept=keep_keys)
    return str(account.id)
