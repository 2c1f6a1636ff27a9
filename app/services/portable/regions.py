"""Where there are several regions: what must be one's own over all of them is claimed, and then the tenant is opened.

Its rows are there by then and nobody enters it. Whoever is killed is followed by the next who imports the same file.
"""

import asyncpg

from app.residency.directory import Claim
from app.residency.listing import Listed, list_claim
from app.residency.places import Place
from app.residency.regional_places import RegionalPlaces
from app.services.erase_service import TenantEraser
from app.services.portable.arriving import OPEN
from app.services.portable.refusal import Refused

VALUES = """
SELECT 'tenant_name' AS kind, name AS value, id AS target_id FROM tenants WHERE id = $1
UNION ALL SELECT 'email', email, id FROM users WHERE tenant_id = $1
UNION ALL SELECT 'api_key', key_hash, id FROM api_keys WHERE tenant_id = $1
"""
# Only what is not open yet.
MARK = "UPDATE tenants SET erasing_at = now() WHERE id = $1 AND moving = 'arriving' RETURNING true"


async def require_new(places: RegionalPlaces, place: Place, tenant_id: str) -> None:
    """Raises `Refused` where another region has the tenant."""
    region = await places.directory.region_of(tenant_id)
    if region not in (None, place.region):
        raise Refused(f"tenant {tenant_id} lives in {region}")


async def enlist(places: RegionalPlaces, place: Place, owner: asyncpg.Connection, tenant_id: str) -> None:
    """List the tenant in the directory, and open it; raises `Refused`, and what was stored of it is erased."""
    listed = Listed()
    for row in await owner.fetch(VALUES, tenant_id):
        claim = Claim(row["kind"], row["value"], row["target_id"])
        await list_claim(places, place.region or "", tenant_id, claim, listed)
    if listed.conflicts:
        if await owner.fetchval(MARK, tenant_id):
            await TenantEraser(place.database, claims=place.claims).erase(tenant_id)
        raise Refused(f"taken by another: the {', the '.join(listed.conflicts[:10])}")
    await owner.execute(OPEN, tenant_id)
