"""Wrapping tenants' data keys anew, and whether this process opens them all."""

from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg
import structlog
from sqlalchemy import LargeBinary, bindparam, text

from app.core.credentials.envelope import MasterKeys, Unopenable, WrappedKey
from app.core.errors import DatabaseUnavailable
from app.core.settings.unusable import UnusableSetting
from app.db import rls
from app.db.failures import reason_of
from app.db.session import Database
from app.services.provider_key_service import WrappedRow

BATCH = 100
IN_USE = text("SELECT master FROM master_keys_in_use() AS master")
TO_REWRAP = text("SELECT tenant_id FROM data_keys_to_rewrap(:present, :after, :most) AS tenant_id")
# Whoever rotates at the same time waits, and then finds it done.
LOCK = text("""
SELECT tenant_data_keys.master, tenant_data_keys.sealed FROM tenant_data_keys
WHERE tenant_data_keys.tenant_id = :tenant_id AND tenant_data_keys.master <> :present FOR NO KEY UPDATE
""")
REWRAP = text("""
UPDATE tenant_data_keys SET master = :present, sealed = :sealed, updated_at = now()
WHERE tenant_data_keys.tenant_id = :tenant_id
""").bindparams(bindparam("sealed", type_=LargeBinary))
logger = structlog.get_logger()


@dataclass(slots=True)
class Rewrapped:
    """`left`: ids of tenants whose data key stays as it is: nothing given opens it, or its tenant is moving."""

    count: int
    left: list[str]


async def rewrap_data_keys(database: Database, masters: MasterKeys) -> Rewrapped:
    """Wrap each data key under the present master key, one a transaction: it may be killed, and repeated.

    What serves meanwhile opens both. The data keys stay what they are, and so does all that they sealed.
    """
    done, after = Rewrapped(0, []), ""
    while True:
        async with database.background(rls.ENTER_NO_TENANT) as connection:
            values = {"present": masters.present, "after": after, "most": BATCH}
            tenants = [tenant_id for (tenant_id,) in (await connection.execute(TO_REWRAP, values)).all()]
        if not tenants:
            return done
        for tenant_id in tenants:
            try:
                done.count += await _rewrap(database, masters, tenant_id)
            except (Unopenable, DatabaseUnavailable) as error:
                logger.warning("data_key_left", tenant_id=tenant_id, reason=type(error).__name__)
                done.left.append(tenant_id)
        after = tenants[-1]


async def _rewrap(database: Database, masters: MasterKeys, tenant_id: str) -> bool:
    values = {"tenant_id": tenant_id, "present": masters.present}
    async with database.background(rls.enter_tenant(tenant_id)) as connection:
        found = (await connection.execute(LOCK, values, WrappedRow)).one_or_none()
        if found is None:
            return False
        wrapped = masters.rewrap(tenant_id, WrappedKey(found.master, found.sealed))
        await connection.execute(REWRAP, {**values, "sealed": wrapped.sealed})
        return True


async def check_master_keys(databases: Iterable[Database], masters: MasterKeys | None) -> None:
    """Raise `UnusableSetting` if there is a data key that nothing given opens. A database that is away is not judged.

    Else the tenants that it belongs to would find out, by calls that fail.
    """
    for database in databases:
        try:
            async with database.session(rls.ENTER_NO_TENANT) as connection:
                in_use = [name for (name,) in (await connection.execute(IN_USE)).all()]
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            logger.warning("master_keys_not_checked", database=database.name, reason=reason_of(error))
            continue
        if masters is None and in_use:
            raise UnusableSetting("MASTER_KEY", "tenants have keys of their own here, sealed with one that is not set")
        if masters is not None and any(name not in masters for name in in_use):
            raise UnusableSetting(
                "MASTER_KEY",
                "it does not open all that is sealed here: list the keys before it in PREVIOUS_MASTER_KEYS",
            )
