"""Proving who one is by a password: logging in, and changing it."""

import structlog
from sqlalchemy import bindparam, text, update

from app.core.credentials.emails import login_name
from app.core.credentials.passwords import too_long
from app.core.errors import AuthenticationError, InvalidCredentials, WrongPassword
from app.core.principal import Origin, Principal
from app.core.rate_limits.limiter import RateLimiter
from app.core.security import PasswordHasher
from app.db import rls
from app.db.session import TenantSession
from app.models import User
from app.residency.places import Places
from app.services.api_key_service import REVOKE_ALL_KEYS
from app.services.audit_service import Actor, record, record_by
from app.services.audit_tally import AuditTally
from app.services.session_service import END_ALL, Granted, SessionService
from app.services.user_service import SELECT_USER

MAX_LOGIN_EMAIL_CHARACTERS = 1024
users = User.__table__
logger = structlog.get_logger()

# Across tenants, by a SECURITY DEFINER function: nobody knows the tenant before the login. None for a disabled user.
AUTH_LOOKUP = text("SELECT id, tenant_id, role, token_version, hashed_password FROM auth_lookup(:email)")
OF_USER = (users.c.tenant_id == bindparam("in_tenant"), users.c.id == bindparam("of_user"))
# Only in the place of the hash that was verified: not of one that came in between.
REPLACE_HASH = (
    update(User)
    .where(*OF_USER, users.c.token_version == bindparam("version"))
    .values(hashed_password=bindparam("hashed"))
)
CHANGE_PASSWORD = REPLACE_HASH.values(token_version=users.c.token_version + 1).returning(users.c.id)


class AuthService:
    def __init__(
        self,
        places: Places,
        passwords: PasswordHasher,
        sessions: SessionService,
        limits: RateLimiter,
        tally: AuditTally,
    ) -> None:
        self._places = places
        self._passwords = passwords
        self._sessions = sessions
        self._limits = limits
        self._tally = tally

    async def login(self, email: str, password: str, origin: Origin) -> Granted:
        """A new session.

        No connection is held while the password is hashed, and an unknown email (or a disabled user) takes as long as
        a wrong password.

        Raises:
            InvalidCredentials, RateLimited
        """
        # Unbounded, the normalisation alone would hold the loop for minutes.
        if len(email) > MAX_LOGIN_EMAIL_CHARACTERS or too_long(password):
            raise InvalidCredentials
        async with self._limits.login(email, origin.address):
            if "\x00" in email or "\x00" in password:  # a form can hold it; no account does
                raise InvalidCredentials
            return await self._log_in(email, password, origin)

    async def _log_in(self, email: str, password: str, origin: Origin) -> Granted:
        name = login_name(email)
        database = (await self._places.of_email(name)).database
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            account = (await connection.execute(AUTH_LOOKUP, {"email": name})).one_or_none()
        correct, replacement = await self._passwords.verify(
            password, account.hashed_password if account else None, origin.site
        )
        if account is None or not correct:
            logger.info("login_refused", user_id=account.id if account else None)
            if account is not None:
                self._tally.count(account.tenant_id, "login.refused", account.id, origin)
            raise InvalidCredentials
        user = Principal(account.id, account.tenant_id, account.role, account.token_version)
        async with database.session(rls.enter_as(user), user.tenant_id) as connection:
            if replacement:
                values = {"in_tenant": user.tenant_id, "of_user": user.user_id, "hashed": replacement}
                await connection.execute(REPLACE_HASH, {**values, "version": user.token_version})
                logger.info("password_hash_upgraded", user_id=user.user_id)
            granted = await self._sessions.begin(connection, user)
            await record(connection, Actor.of(user, origin), "session.begun", user.user_id)
            return granted

    async def change_password(self, db: TenantSession, current: str, new: str, *, keep_keys: bool = False) -> None:
        """Set the caller's password and end all sessions of the user, this one included, and its API keys.

        Raises:
            WrongPassword: `current` is not the present one.
            RateLimited: who has stolen a token guesses here as at the login.
            AuthenticationError: another change came first, and ended the session.
        """
        principal = db.principal
        async with db.begin() as connection:
            identity = {"tenant_id": principal.tenant_id, "id": principal.user_id}
            user = (await connection.execute(SELECT_USER, identity)).one_or_none()
            email = user.email if user else ""
            account = (await connection.execute(AUTH_LOOKUP, {"email": email})).one_or_none()
        if account is None:  # deleted or disabled since the transaction began
            raise AuthenticationError
        async with self._limits.password_of(principal.session_id or ""):
            correct, _ = await self._passwords.verify(current, account.hashed_password, principal.tenant_id)
            if not correct:
                raise WrongPassword
        hashed = await self._passwords.hash(new, principal.tenant_id)
        async with db.begin() as connection:
            values = {"in_tenant": principal.tenant_id, "of_user": principal.user_id, "hashed": hashed}
            changed = await connection.execute(CHANGE_PASSWORD, {**values, "version": principal.token_version})
            if changed.one_or_none() is None:
                raise AuthenticationError
            owner = {"tenant_id": principal.tenant_id, "user_id": principal.user_id}
            await connection.execute(END_ALL, owner)
            if not keep_keys:
                await connection.execute(REVOKE_ALL_KEYS, owner)
            await record_by(db, connection, "user.password_changed", principal.user_id, api_keys_kept=keep_keys)
