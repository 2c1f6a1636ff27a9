"""Who is counted in which limit."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from app.core.client_address import site_of
from app.core.config import Settings
from app.core.errors import RateLimited
from app.core.principal import Principal
from app.core.rate_limits.memory import MemoryCounters
from app.core.rate_limits.policy import Check, Policy, Standing
from app.core.rate_limits.shared import SharedCounters
from app.core.security import normalise_email


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
        self._local = MemoryCounters()
        shared = self._enabled and settings.redis_url
        self._shared = SharedCounters(settings.redis_url, self._local) if shared else None

    @property
    def store(self) -> Literal["off", "memory", "redis"]:
        """Where requests are counted right now."""
        if not self._enabled:
            return "off"
        return "redis" if self._shared and self._shared.available else "memory"

    async def open(self) -> None:
        if self._shared:
            await self._shared.open()

    async def close(self) -> None:
        if self._shared:
            await self._shared.close()

    async def count_principal(self, principal: Principal) -> Standing | None:
        if not self._enabled:
            return None
        user, tenant = Check(self._user, principal.user_id), Check(self._tenant, principal.tenant_id)
        if principal.key_id is None:
            return await self._count((user, tenant))
        return await self._count((Check(self._key, principal.key_id), user, tenant))

    async def count_address(self, address: str) -> Standing | None:
        """For who has no token yet. An unknown address is not counted: all who come by a Unix socket would share it."""
        if not self._enabled or not address:
            return None
        return await self._count((Check(self._address, site_of(address)),))

    async def count_login(self, email: str) -> Standing | None:
        """Every try, whether the account exists or not."""
        if not self._enabled:
            return None
        account = hashlib.sha256(normalise_email(email).encode()).hexdigest()
        return await self._count((Check(self._login, account),))

    async def _count(self, checks: Sequence[Check]) -> Standing:
        standing = self._local.hit(checks) if self._shared is None else await self._shared.hit(checks)
        if standing.remaining < 0:
            raise RateLimited(standing)
        return standing
