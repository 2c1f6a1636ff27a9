"""Writing a tenant into a file, as one moment shows it; whoever has the file has what it holds, digests included."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import asyncpg

from app.core.errors import TenantNotFound
from app.core.ids import is_id
from app.core.principal import Origin
from app.db.execution import Connection
from app.db.texts import Texts
from app.services.audit_service import Actor, record
from app.services.export_end import EndLine
from app.services.export_tables import lines_of
from app.services.portable.arriving import require_owner
from app.services.portable.refusal import Refused
from app.services.portable.tables import PORTABLE

THERE = "SELECT EXISTS (SELECT FROM tenants WHERE id = $1 AND erasing_at IS NULL AND moving IS NULL)"
RUNNING = "SELECT count(*) FROM messages WHERE tenant_id = $1 AND status = 'pending'"


@dataclass(frozen=True, slots=True)
class Left:
    """`running`: messages that had no end at that moment."""

    rows: int
    running: int


async def leave(connection: asyncpg.Connection, tenant_id: str, path: Path, texts: Texts | None = None) -> Left:
    """Write the file, which is there as a whole or not at all, and read by its owner alone.

    `connection`: of a login that row-level security does not hold. `texts`: what opens those that are sealed.

    Raises:
        TenantNotFound
        Refused
        OSError
    """
    await require_owner(connection)
    if not is_id(tenant_id) or not await connection.fetchval(THERE, tenant_id):
        raise TenantNotFound
    with _whole(path) as file:
        # Before the moment: the file tells of itself.
        await record(Connection(connection), Actor(tenant_id, "operator", Origin()), "tenant.exported", tenant_id)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            running = await connection.fetchval(RUNNING, tenant_id)
            rows = await _write(Connection(connection, texts), tenant_id, file)
    return Left(rows, running)


async def _write(connection: Connection, tenant_id: str, file: BinaryIO) -> int:
    end, count = EndLine("portable", PORTABLE), 0
    for exported in PORTABLE:
        page = await exported.page(connection, tenant_id, None)
        while page:
            file.write(end.count(exported.type, len(page), lines_of(page)))
            count += len(page)
            page = [] if exported.is_last(page) else await exported.page(connection, tenant_id, page[-1])
    file.write(end.written())
    return count


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Under another name until it is on the disk. One that is there is not written over."""
    if path.exists():
        raise Refused(f"{path} is there already")
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    part.rename(path)
