"""The keys of tenants' texts: whether this process has them all, and wrapping them anew."""

import asyncio
from collections.abc import Iterable, Sequence

import asyncpg
import structlog
from sqlalchemy import text

from app.core.credentials.envelope import MasterKeys, Unopenable
from app.core.errors import AppError, DatabaseUnavailable
from app.core.settings.unusable import UnusableSetting
from app.db import rls
from app.db.execution import Record
from app.db.failures import reason_of
from app.db.session import Database
from app.db.texts import Texts
from app.services.master_key_rotation import Rewrapped

IN_USE = text("SELECT tenant_id, master FROM text_keys_in_use()")
# Whoever erases the tenant waits, or was first: then there is no row, and no file is put back.
LOCK = text("SELECT text_keys.master FROM text_keys WHERE text_keys.tenant_id = :tenant_id FOR UPDATE")
NOTE = text("""
UPDATE text_keys SET master = :present, updated_at = now() WHERE text_keys.tenant_id = :tenant_id
""")
logger = structlog.get_logger()


class InUseRow(Record):
    __slots__ = ()

    tenant_id: str
    master: str


async def check_text_keys(databases: Sequence[Database], masters: MasterKeys | None) -> None:
    """Raise `UnusableSetting` if tenants have sealed texts that this process was not given the keys of.

    After a restore some have none any more: they were erased since. A database that is away is not judged.
    """
    judged, in_use = True, list[InUseRow]()
    for database in databases:
        try:
            in_use += await _in_use(database)
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            judged = False
            logger.warning("text_keys_not_checked", database=database.name, reason=reason_of(error))
    texts = next((database.texts for database in databases), None)
    if in_use:
        _require(texts, masters, in_use)
    elif texts is not None and judged and not texts.files.begun:
        await asyncio.to_thread(texts.files.begin)


def _require(texts: Texts | None, masters: MasterKeys | None, in_use: Sequence[InUseRow]) -> None:
    if masters is None:
        raise UnusableSetting("MASTER_KEY", "tenants have encrypted texts here, whose keys it wraps")
    if texts is None:
        raise UnusableSetting("TEXT_KEYS_DIR", "tenants have encrypted texts here, whose keys lie there")
    if any(row.master not in masters for row in in_use):
        reason = "it does not open all keys of texts: list the keys before it in PREVIOUS_MASTER_KEYS"
        raise UnusableSetting("MASTER_KEY", reason)
    if not texts.files.begun:
        raise UnusableSetting("TEXT_KEYS_DIR", "it is not the directory in which the keys in use lie")
    lacking = texts.files.lacking(row.tenant_id for row in in_use)
    if lacking:
        logger.warning("text_keys_lacking", tenants=len(lacking), first=lacking[0], remedy="replay-erasures")


async def rewrap_text_keys(database: Database) -> Rewrapped:
    """Wrap the key of each tenant's texts anew, one a transaction: it may be killed, and repeated."""
    done = Rewrapped(0, [])
    texts = database.texts
    for row in await _in_use(database):
        if texts is None:
            raise UnusableSetting("TEXT_KEYS_DIR", "tenants have encrypted texts here, whose keys lie there")
        if row.master == texts.files.master:
            continue
        try:
            done.count += await _rewrap(database, texts, row.tenant_id)
        except (Unopenable, OSError, AppError) as error:
            logger.warning("text_key_left", tenant_id=row.tenant_id, reason=type(error).__name__)
            done.left.append(row.tenant_id)
    return done


async def _rewrap(database: Database, texts: Texts, tenant_id: str) -> bool:
    values = {"tenant_id": tenant_id}
    async with database.background(rls.enter_tenant(tenant_id)) as connection:
        if (await connection.execute(LOCK, values)).one_or_none() is None:
            return False
        # First the file: where this ends in between, the row asks for a master key that is needed no more.
        if not await asyncio.to_thread(texts.files.rewrap, tenant_id):
            raise Unopenable
        await connection.execute(NOTE, {**values, "present": texts.files.master})
    return True


async def _in_use(database: Database) -> Iterable[InUseRow]:
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        return (await connection.execute(IN_USE, {}, InUseRow)).all()
