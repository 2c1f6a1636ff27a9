"""Opening the regions: each must answer, be the one that its name says, and have its tenants in the directory."""

from collections.abc import Mapping, Sequence

import asyncpg
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.core.settings.unusable import UnusableSetting
from app.db import rls
from app.db.failures import reason_of
from app.db.session import Database
from app.residency.directory import Directory
from app.residency.regional_places import RegionalPlaces

IDENTIFY = text("SELECT name, listed FROM identify_region(:region)")


async def open_places(
    databases: Mapping[str, Database], secret_keys: Sequence[str], *, listed: bool = True
) -> RegionalPlaces:
    """The places of all regions, once each was asked. `listed`: the directory must know their tenants.

    Raises:
        UnusableSetting
    """
    for region, database in databases.items():
        await _check(region, database, listed=listed)
    directory = Directory(databases, secret_keys)
    try:
        await directory.open()
    except ValueError as error:
        raise UnusableSetting("SECRET_KEY", str(error)) from None
    return RegionalPlaces(databases, directory)


async def _check(region: str, database: Database, *, listed: bool) -> None:
    try:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            found = (await connection.execute(IDENTIFY, {"region": region})).one()
    except DatabaseUnavailable as error:
        raise _unusable(f"the database of {region} does not answer ({reason_of(error)})") from error
    except asyncpg.UndefinedFunctionError as error:
        raise _unusable(f"the database of {region} is not migrated: python create_tables.py") from error
    if found.name != region:
        raise _unusable(f"what it calls {region} is the database of {found.name}")
    if listed and not found.listed:
        raise _unusable(f"the directory lacks the tenants of {region}: python -m app.cli fill-directory")


def _unusable(reason: str) -> UnusableSetting:
    return UnusableSetting("DATABASE_SHARDS", reason)
