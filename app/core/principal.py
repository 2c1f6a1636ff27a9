"""Who is calling, as the verified token says."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["admin", "user"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `tenant_id` is the only source of the tenant in every query."""

    user_id: str
    tenant_id: str
    role: Role
    token_version: int
    key_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
