"""Commands that take a tenant from one deployment to another, as a file."""

import argparse
import secrets
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import BinaryIO

from app.core.config import Settings
from app.core.security import PasswordHasher
from app.reach import HOME, owners_of, places_of
from app.residency.copying import owners_connection
from app.residency.regional_places import RegionalPlaces
from app.services.portable.arriving import Arrived, arrive, tenant_of
from app.services.portable.leaving import leave
from app.services.portable.regions import enlist, require_new


async def export_tenant(arguments: argparse.Namespace, settings: Settings) -> str:
    """Write the tenant to the file; returns the lines to print. Raises AppError, Refused, OSError."""
    async with places_of(settings) as places, owners_of(settings) as owners:
        place = await places.of_tenant(arguments.tenant_id)
        async with owners_connection(owners[place.region or HOME]) as connection:
            left = await leave(connection, arguments.tenant_id, Path(arguments.file), place.database.texts)
    lines = [f"Tenant {arguments.tenant_id}: {left.rows} lines in {arguments.file}, digests of credentials among them"]
    if left.running:
        lines.append(f"{left.running} messages still run: where it is imported they have failed")
    return "\n".join(lines)


async def import_tenant(arguments: argparse.Namespace, settings: Settings) -> str:
    """Take the tenant of the file in; returns the lines to print. Raises AppError, Refused, OSError."""
    async with AsyncExitStack() as stack:
        file = stack.enter_context(closing(_opened(arguments.file)))
        places = await stack.enter_async_context(places_of(settings))
        owners = await stack.enter_async_context(owners_of(settings))
        place = places.chosen(arguments.region)
        several = places if isinstance(places, RegionalPlaces) else None
        connection = await stack.enter_async_context(owners_connection(owners[place.region or HOME]))
        passwords = PasswordHasher(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        no_password = await passwords.hash(secrets.token_hex(32))
        if several is not None:
            await require_new(several, place, tenant_of(file))
        arrived = await arrive(
            connection,
            file,
            settings.master_keys(),
            no_password,
            texts=place.database.texts,
            after_erasure=arguments.after_erasure,
            hidden=several is not None,
        )
        if several is not None:
            await enlist(several, place, connection, arrived.tenant_id)
    return _said(arrived)


def _opened(name: str) -> BinaryIO:
    return Path(name).open("rb")


def _said(arrived: Arrived) -> str:
    if not arrived.rows:
        return f"Tenant {arrived.tenant_id} was imported from this file before: nothing has changed"
    lines = [f"Tenant {arrived.tenant_id}: {arrived.rows} lines imported"]
    lines += [f"  not taken over: {count} {what}" for what, count in sorted(arrived.left_out.items())]
    return "\n".join(lines)
