"""Who is counted in which limit."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from app.core.addresses import site_of
from app.core.config import Settings
from app.core.credentials.emails import login_name
from app.core.errors import AppError, InvalidCredentials, RateLimited, WrongPassword
from app.core.principal import Principal
from app.core.rate_limits.memory import MemoryCounters
from app.core.rate_limits.policy import Check, Policy, Standing
from app.core.rate_limits.tokens import TokenLimits
from app.observability.instruments import RATE_LIMITED

if TYPE_CHECKING:
    from app.core.rate_limits.shared import SharedCounters


class RateLimiter:
    """Counts a request, and raises `RateLimited` when it is one too many.

    The narrowest limit comes first, and what it refuses is not counted in the wider ones: one user's flood does not use
    up the tenant's limit. All methods answer None while limits are off.
    """

    def __init__(self, settings: Settings) -> None:
        self._enabled = settings.rate_limit_enabled
        self._tenant = Policy.of("tenant", settings.rate_limit_tenant)
        self._user = Policy.of("user", settings.rate_limit_user)
        self._key = Policy.of("key", settings.rate_limit_key)
        self._address = Policy.of("address", settings.rate_limit_address)
        self._login = Policy.of("login", settings.rate_limit_login)
        self._account = Policy.of("account", settings.rate_limit_account)
        self._local = MemoryCounters()
        shared = self._enabled and settings.redis_url
        self._shared = _shared_counters(settings.redis_url, self._local) if shared else None
        self.tokens = self._token_limits(settings)
        """None: nobody's are limited."""

    @property
    def store(self) -> Literal["off", "memory", "redis"]:
        """Where requests are counted right now."""
        if not self._enabled:
            return "off"
        return "redis" if self._shared and self._shared.available else "memory"

    @property
    def is_shared(self) -> bool:
        """Whether requests are to be counted in Redis."""
        return self._shared is not None

    async def open(self) -> None:
        if self._shared:
            await self._shared.open()

    async def close(self) -> None:
        if self._shared:
            await self._shared.close()

    async def count_principal(self, principal: Principal) -> Standing | None:
        if not self._enabled:
            return None
        return await self._count(self._checks_of(principal))

    async def count_refused(self, principal: Principal | None, address: str) -> Standing | None:
        """A credential that was refused: its address pays, and the caller that it names gets back what it was counted.

        Who was deleted or logged out goes on sending for a while, and is no reason to keep its colleagues out.
        """
        if not self._enabled:
            return None
        if principal is not None:
            await self._give_back(self._checks_of(principal))
        return await self._count((Check(self._address, f"refused:{site_of(address)}"),)) if address else None

    async def count_address(self, address: str) -> Standing | None:
        """For who has no token yet. An unknown address is not counted: all who come by a Unix socket would share it."""
        if not self._enabled or not address:
            return None
        return await self._count((Check(self._address, site_of(address)),))

    @asynccontextmanager
    async def login(self, email: str, address: str) -> AsyncIterator[None]:
        """Count the login in the block unless it succeeds, whether the account exists or not.

        By account and address first: who fails from elsewhere does not keep the owner out, as long as it is not many.
        """
        account = hashlib.sha256(login_name(email).encode()).hexdigest()
        site = site_of(address) if address else ""
        async with self._guess((Check(self._login, f"{account}:{site}"), Check(self._account, account))):
            yield

    @asynccontextmanager
    async def password_of(self, session_id: str) -> AsyncIterator[None]:
        """Count the password in the block unless it is right: who has stolen a token guesses within its session."""
        async with self._guess((Check(self._login, f"session:{session_id}"),)):
            yield

    @asynccontextmanager
    async def _guess(self, checks: Sequence[Check]) -> AsyncIterator[None]:
        """Counted before it is known: of any number at once no more than the limit are looked at."""
        if not self._enabled:
            yield
            return
        await self._count(checks)
        try:
            yield
        except (InvalidCredentials, WrongPassword):
            raise
        except AppError:  # nobody has looked at the password
            await self._give_back(checks)
            raise
        await self._give_back(checks)

    def _token_limits(self, settings: Settings) -> TokenLimits | None:
        set_to = {
            "tenant": settings.rate_limit_tenant_tokens,
            "user": settings.rate_limit_user_tokens,
            "key": settings.rate_limit_key_tokens,
        }
        if not self._enabled or not any(set_to.values()):
            return None
        policies = {of: Policy.of(f"{of}-tokens", limit, "tokens") if limit else None for of, limit in set_to.items()}
        return TokenLimits(**policies, counters=self._shared.tokens if self._shared else self._local)

    def _checks_of(self, principal: Principal) -> Sequence[Check]:
        user, tenant = Check(self._user, principal.user_id), Check(self._tenant, principal.tenant_id)
        if principal.key_id is None:
            return (user, tenant)
        return (Check(self._key, principal.key_id), user, tenant)

    async def _count(self, checks: Sequence[Check]) -> Standing:
        standing = self._local.hit(checks) if self._shared is None else await self._shared.hit(checks)
        if standing.remaining < 0:
            RATE_LIMITED.add(standing.policy.name)
            raise RateLimited(standing)
        return standing

    async def _give_back(self, checks: Sequence[Check]) -> None:
        if self._shared is None:
            self._local.give_back(checks)
        else:
            await self._shared.give_back(checks)


def _shared_counters(redis_url: str, local: MemoryCounters) -> "SharedCounters":
    # Not at the top: the client of Redis is for those who have one.
    from app.core.rate_limits.shared import SharedCounters

    return SharedCounters(redis_url, local)
