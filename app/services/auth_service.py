"""Logging in: from an email and a password to an access token."""

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Row, bindparam, text, update

from app.core.errors import InvalidCredentials
from app.core.principal import Principal
from app.core.rate_limits.limiter import RateLimiter
from app.core.security import PasswordHasher, TokenService, normalise_email
from app.db import rls
from app.db.session import Database
from app.models import User
from app.services.user_service import SELECT_USER

users = User.__table__
logger = structlog.get_logger()

# Across tenants, by a SECURITY DEFINER function: nobody knows the tenant before the login.
AUTH_LOOKUP = text("SELECT id, tenant_id, role, token_version, hashed_password FROM auth_lookup(:email)")
REPLACE_HASH = (
    update(User)
    .where(users.c.tenant_id == bindparam("in_tenant"), users.c.id == bindparam("of_user"))
    .values(hashed_password=bindparam("hashed"))
)


@dataclass(frozen=True, slots=True)
class Login:
    """`expires_in` is in seconds."""

    access_token: str
    expires_in: int
    user: Row[Any]


class AuthService:
    def __init__(
        self, database: Database, passwords: PasswordHasher, tokens: TokenService, limits: RateLimiter
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._limits = limits

    async def login(self, email: str, password: str) -> Login:
        """An access token and its user.

        No connection is held while the password is hashed, and an unknown email takes as long as a wrong password.

        Raises:
            InvalidCredentials, RateLimited
        """
        await self._limits.count_login(email)
        if "\x00" in email or "\x00" in password:  # a form can hold it; no account does
            raise InvalidCredentials
        async with self._database.session(rls.ENTER_NO_TENANT) as connection:
            account = (await connection.execute(AUTH_LOOKUP, {"email": normalise_email(email)})).one_or_none()
        correct, replacement = await self._passwords.verify(password, account.hashed_password if account else None)
        if account is None or not correct:
            raise InvalidCredentials
        principal = Principal(account.id, account.tenant_id, account.role, account.token_version)
        user = await self._enter(principal, replacement)
        return Login(self._tokens.mint(principal), self._tokens.expires_in, user)

    async def _enter(self, principal: Principal, replacement: str | None) -> Row[Any]:
        identity = {"tenant_id": principal.tenant_id, "id": principal.user_id}
        async with self._database.session(rls.enter_as(principal)) as connection:
            if replacement:
                values = {"in_tenant": principal.tenant_id, "of_user": principal.user_id, "hashed": replacement}
                await connection.execute(REPLACE_HASH, values)
                logger.info("password_hash_upgraded", user_id=principal.user_id)
            user: Row[Any] = (await connection.execute(SELECT_USER, identity)).one()
            return user
