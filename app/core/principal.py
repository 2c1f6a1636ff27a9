"""Who is calling, as the verified credential says, and from where."""

from dataclasses import dataclass
from typing import Literal

from app.core.addresses import site_of

Role = Literal["admin", "user"]
Scope = Literal["messages:read", "messages:write", "admin"]

EVERYTHING: frozenset[Scope] = frozenset(("messages:read", "messages:write", "admin"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from. `address` is "" where nobody knows it.

    `request_id` is the caller's where it sent one, `own_request_id` always ours.
    """

    address: str = ""
    request_id: str = ""
    own_request_id: str = ""

    @property
    def site(self) -> str:
        """Whom requests from here are counted as; "" if nobody knows."""
        return site_of(self.address) if self.address else ""


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `tenant_id` is the only source of the tenant in every query.

    It came with an access token (`session_id`) or with an API key (`key_id`). A key acts as an admin only with the
    scope `admin`; `scopes` and `allowed_models` (public names; None: what the tenant allows) limit keys, never people.
    """

    user_id: str
    tenant_id: str
    role: Role
    token_version: int
    session_id: str | None = None
    key_id: str | None = None
    scopes: frozenset[Scope] = EVERYTHING
    allowed_models: frozenset[str] | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
