"""Where a tenant's rows are, or are to be: a region's database, and how values are claimed for it."""

from dataclasses import dataclass
from typing import Protocol

from app.core.errors import UnknownRegion
from app.db.session import Database
from app.residency.claims import ONE_REGION, Claims


@dataclass(frozen=True, slots=True)
class Place:
    region: str | None
    database: Database
    claims: Claims


class Places(Protocol):
    def chosen(self, region: str | None) -> Place:
        """For a new tenant; None: the first region. Raises `UnknownRegion`."""

    async def of_tenant(self, tenant_id: str) -> Place:
        """As it is now, for who comes from nowhere; raises `TenantNotFound`."""

    async def of_caller(self, tenant_id: str) -> Place:
        """Of a verified caller: as this process last heard. The first region's, if nobody knows the tenant."""

    async def of_email(self, email: str) -> Place:
        """Of who logs in; some region's, always the same, if it is nobody's."""

    async def of_key(self, key_hash: str) -> Place:
        """As `of_email`."""

    async def of_session(self, session_id: str) -> Place:
        """As `of_email`."""

    async def has_moved(self, tenant_id: str, seen_in: Database) -> bool:
        """Whether the tenant lives in another place than where it was looked for."""

    def forget_tenant(self, tenant_id: str) -> None:
        """Where it is, as this process last heard."""


class OnePlace:
    """There is one database, and nobody is asked to find it. `region` is its name, if it has one."""

    def __init__(self, database: Database, region: str | None = None) -> None:
        self._place = Place(region, database, ONE_REGION)

    def chosen(self, region: str | None) -> Place:
        if region is not None and region != self._place.region:
            raise UnknownRegion
        return self._place

    async def of_tenant(self, _: str) -> Place:
        return self._place

    of_caller = of_email = of_key = of_session = of_tenant

    async def has_moved(self, _: str, __: Database) -> bool:
        return False

    def forget_tenant(self, _: str) -> None:
        """It cannot be elsewhere."""
