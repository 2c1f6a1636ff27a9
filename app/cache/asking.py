"""Who asks, and what its tenant wants: what decides with whom an answer is shared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.core.principal import Principal


@dataclass(frozen=True, slots=True)
class TenantCaching:
    """How a tenant caches: for how many seconds, since which epoch, and whether its users share their answers."""

    seconds: int
    epoch: str
    shared: bool

    @classmethod
    def of(cls, stored: Sequence[Any]) -> Self | None:
        """`cache_ttl_seconds`, `cache_epoch` and `message_visibility` of a tenant; None: it does not."""
        seconds, epoch, visibility = stored
        return None if seconds is None or epoch is None else cls(seconds, epoch, visibility == "tenant")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `key_id`: with a key that may not read what others asked, so that it shares nothing with them."""

    tenant_id: str
    user_id: str
    key_id: str | None = None

    @classmethod
    def of(cls, caller: Principal) -> Self:
        return cls(caller.tenant_id, caller.user_id, None if "messages:read" in caller.scopes else caller.key_id)

    def sharer(self, caching: TenantCaching) -> str:
        """Who alone may have the answer; "": all users of the tenant."""
        if self.key_id is not None:
            return f"key:{self.key_id}"
        return "" if caching.shared else f"user:{self.user_id}"
