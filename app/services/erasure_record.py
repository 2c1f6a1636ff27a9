"""Which tenants were erased, as lines to be kept outside of the database; and erasing them again after a restore.

A backup is older than what was erased since, and a restored database knows only what was erased before it.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import DateTime, bindparam, text

from app.core.ids import is_id
from app.db.provision import owner_connection
from app.services.erase_service import TenantEraser

ERASED = text("""
SELECT erased_tenants.id, erased_tenants.erased_at FROM erased_tenants
WHERE erased_tenants.erased_at >= :since ORDER BY erased_tenants.erased_at, erased_tenants.id
""").bindparams(bindparam("since", type_=DateTime(timezone=True)))
ERASE_AGAIN = text("SELECT erase_tenant_again(:tenant_id)")
# The line of the service's log that says the same, for what was erased after the last export.
LOGGED = "tenant_erasure_begun"
logger = structlog.get_logger()


class UnreadableRecord(ValueError):
    """A line that names no erased tenant: nothing was erased."""


async def erased_since(owner_url: str, since: datetime) -> list[str]:
    """A line of JSON for each tenant that was erased; raises `PermissionDenied` for the runtime's login."""
    async with owner_connection(owner_url) as owner:
        rows = (await owner.execute(ERASED, {"since": since})).all()
    return [json.dumps({"tenant_id": row.id, "erased_at": row.erased_at.astimezone(UTC).isoformat()}) for row in rows]


def tenants_in(lines: Iterable[str]) -> list[str]:
    """The ids in lines of `erased_since`, or of the service's log, whose other lines are passed over.

    Raises `UnreadableRecord`: a record that is not read as a whole would leave a tenant where it must not be.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _read(line)
        if entry is None or not ("erased_at" in entry or "event" in entry):
            raise UnreadableRecord(f"Line {number} is no line of an export of erased tenants, and none of the log.")
        if "erased_at" not in entry and entry["event"] != LOGGED:
            continue
        if not is_id(str(entry.get("tenant_id"))):
            raise UnreadableRecord(f"Line {number} names no tenant.")
        found[entry["tenant_id"]] = None
    return list(found)


def _read(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


async def erase_again(eraser: TenantEraser, owner_url: str, tenant_ids: Iterable[str]) -> list[str]:
    """Erase those that are there, and return them. It may be repeated; a process that serves finishes what it began.

    Raises `PermissionDenied`: the login is the runtime's.
    """
    there = []
    for tenant_id in tenant_ids:
        async with owner_connection(owner_url) as owner:
            marked = (await owner.execute(ERASE_AGAIN, {"tenant_id": tenant_id})).scalar_one()
        if marked:
            logger.warning("tenant_erased_again", tenant_id=tenant_id)
            await eraser.erase(tenant_id)
            there.append(tenant_id)
    return there
