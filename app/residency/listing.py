"""Listing a region's tenants in the directory: an installation that had one region, or one that joins with its own."""

from dataclasses import dataclass, field

from sqlalchemy import Integer, bindparam, text

from app.db import rls
from app.db.provision import owner_connection
from app.residency.directory import Claim
from app.residency.places import Place
from app.residency.regional_places import RegionalPlaces

TENANTS_A_PAGE = 500
# Across tenants; for the database's owner alone.
TENANTS_AFTER = text("SELECT tenants_after(:after, :most)").bindparams(bindparam("most", type_=Integer))
LISTED = text("SELECT region_is_listed()")
VALUES = text("""
SELECT 'tenant_name' AS kind, tenants.name AS value, tenants.id AS target_id
  FROM tenants WHERE tenants.id = :tenant_id
UNION ALL SELECT 'email', users.email, users.id FROM users WHERE users.tenant_id = :tenant_id
UNION ALL SELECT 'api_key', api_keys.key_hash, api_keys.id FROM api_keys WHERE api_keys.tenant_id = :tenant_id
""")


@dataclass(slots=True)
class Listed:
    """What was listed; `conflicts` names what is another's already: kind, region and id of each."""

    tenants: int = 0
    values: int = 0
    conflicts: list[str] = field(default_factory=list)


async def list_region(places: RegionalPlaces, region: str, owner_url: str) -> Listed:
    """List all tenants of the region; it may be repeated. Raises `PermissionDenied` for the runtime's login."""
    listed, after = Listed(), ""
    while True:
        async with owner_connection(owner_url) as owner:
            found = (await owner.execute(TENANTS_AFTER, {"after": after, "most": TENANTS_A_PAGE})).scalars().all()
        for tenant_id in found:
            await _list_tenant(places, places[region], tenant_id, listed)
        if len(found) < TENANTS_A_PAGE:
            break
        after = found[-1]
    if not listed.conflicts:
        async with owner_connection(owner_url) as owner:
            await owner.execute(LISTED)
    return listed


async def _list_tenant(places: RegionalPlaces, place: Place, tenant_id: str, listed: Listed) -> None:
    async with place.database.background(rls.enter_tenant(tenant_id)) as connection:
        values = (await connection.execute(VALUES, {"tenant_id": tenant_id})).all()
    listed.tenants += 1
    for value in values:
        claim = Claim(value.kind, value.value, value.target_id)
        await list_claim(places, place.region or "", tenant_id, claim, listed)


async def list_claim(places: RegionalPlaces, region: str, tenant_id: str, claim: Claim, listed: Listed) -> None:
    """Claim it for good, or note that it is another's."""
    directory = places.directory
    claimed = await directory.claim(tenant_id, region, claim)
    if claimed == "free":
        await directory.settle(claim.kind, directory.hash_of(claim.kind, claim.value), claim.target_id, stands=True)
    if claimed == "taken":
        listed.conflicts.append(f"{claim.kind} of {claim.target_id} in {region}")
    else:
        listed.values += 1
