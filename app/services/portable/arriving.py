"""Taking a tenant in: in one transaction, of which nobody sees anything until all of the file was found to be right.

A killed import leaves nothing. One that was committed is known by its entry in the audit log, which has the file's
digest: the same file again changes nothing.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO

import asyncpg

from app.core.credentials.envelope import MasterKeys
from app.core.ids import is_id
from app.core.principal import Origin
from app.db.execution import Connection
from app.db.texts import Texts
from app.residency.copying import IS_FREE
from app.services.audit_service import Actor, record
from app.services.export_end import schema_of_this_version
from app.services.portable.file import ExportFile, object_of
from app.services.portable.loading import Load
from app.services.portable.making import make_derived
from app.services.portable.refusal import Refused, Wrong
from app.services.portable.rows import Arrival

SCHEMA = "SELECT version_num FROM alembic_version"
TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended('import ' || $1, 0))"
STANDING = """
SELECT t.moving, EXISTS (
  SELECT FROM audit_log a WHERE a.tenant_id = t.id AND a.action = 'tenant.imported' AND a.details->>'sha256' = $2
) AS is_of_this_file
FROM tenants t WHERE t.id = $1 AND t.erasing_at IS NULL
"""
ERASED = "SELECT EXISTS (SELECT FROM erased_tenants WHERE id = $1)"
FORGIVE = "DELETE FROM erased_tenants WHERE id = $1"
# Nobody enters, and no budget tells of its thresholds: it did where it comes from.
HIDE = "UPDATE tenants SET moving = 'arriving', moving_until = 'infinity' WHERE id = $1"
OPEN = "UPDATE tenants SET moving = NULL, moving_until = NULL WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Arrived:
    """`rows`: how many lines there were; 0: it was imported from this file before."""

    tenant_id: str
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


async def arrive(
    connection: asyncpg.Connection,
    file: BinaryIO,
    masters: MasterKeys | None,
    no_password: str,
    *,
    texts: Texts | None = None,
    after_erasure: bool = False,
    hidden: bool = False,
) -> Arrived:
    """Store the tenant of the file; raises `Refused`, and nothing is stored then.

    `connection`: of a login that row-level security does not hold. `no_password`: a hash that no password has. `texts`:
    what seals those of this deployment. `after_erasure`: also a tenant that was erased here. `hidden`: nobody enters
    it until it is opened.
    """
    await require_owner(connection)
    exported = ExportFile(file)
    end = exported.verify()
    tenant_id = tenant_of(file)
    arrival = Arrival(end.form, tenant_id, no_password, masters)
    async with connection.transaction():
        if not await connection.fetchval(TURN, tenant_id):
            raise Refused("somebody else imports this tenant at this moment")
        standing = await connection.fetchrow(STANDING, tenant_id, end.sha256)
        if standing is not None and standing["is_of_this_file"]:
            return Arrived(tenant_id)
        if standing is not None:
            raise Refused(f"tenant {tenant_id} is here already, and not from this file")
        await _ask_erased(connection, tenant_id, after_erasure=after_erasure)
        load = Load(connection, arrival, end)
        for number, line in exported.lines(end):
            await load.take(number, line)
            if number == 1:
                await load.store()
                await connection.execute(HIDE, tenant_id)
                if texts is not None and texts.seals:
                    load.text_key = await texts.key_to_seal(Connection(connection, texts), tenant_id)
        await load.store()
        if load.counts != end.counts:
            raise Refused("its end line counts other lines than there are")
        await make_derived(connection, tenant_id)
        actor = Actor(tenant_id, "operator", Origin())
        said = {"sha256": end.sha256, "form": end.form, "lines": end.lines}
        await record(Connection(connection), actor, "tenant.imported", tenant_id, **said)
        if not hidden:
            await connection.execute(OPEN, tenant_id)
    return Arrived(tenant_id, end.lines, arrival.left_out)


async def require_owner(connection: asyncpg.Connection) -> None:
    """Raises `Refused` unless the login may do this, and finds the schema of this version."""
    if not await connection.fetchval(IS_FREE):
        raise Refused(
            "MIGRATION_DATABASE_URL: the login must be a superuser's or have BYPASSRLS:"
            " a tenant's rows are hidden from any other"
        )
    if await connection.fetchval(SCHEMA) != schema_of_this_version():
        raise Refused("the database is not of this version: python create_tables.py")


def tenant_of(file: BinaryIO) -> str:
    """As the first line says; raises `Refused`."""
    try:
        tenant_id = object_of(ExportFile(file).first_line()).get("id")
    except Wrong as wrong:
        raise Refused(str(wrong), 1) from None
    if not is_id(tenant_id):
        raise Refused("it names no tenant", 1)
    return str(tenant_id)


async def _ask_erased(connection: asyncpg.Connection, tenant_id: str, *, after_erasure: bool) -> None:
    if after_erasure:
        await connection.execute(FORGIVE, tenant_id)
    elif await connection.fetchval(ERASED, tenant_id):
        raise Refused(f"tenant {tenant_id} was erased here: --after-erasure brings it back all the same")
