"""For operators: `python -m app.cli --help` names the commands."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from app.arguments import parse
from app.commands.encrypt_text import encrypt_text
from app.commands.portable import export_tenant, import_tenant
from app.commands.reconcile import reconcile
from app.commands.verify_isolation import verify_isolation
from app.core.config import Settings, get_settings
from app.core.errors import AppError
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.core.settings.unusable import UnusableSetting
from app.documents.indexes import DocumentIndexes
from app.reach import HOME, owners_of, places_of
from app.residency.listing import list_region
from app.residency.move import MoveGaveUp, TenantMove
from app.residency.regional_places import RegionalPlaces
from app.schemas.tenant import TenantCreate
from app.schemas.user import Credentials
from app.services.erase_service import TenantEraser
from app.services.erasure_record import UnreadableRecord, erase_again, erased_since, tenants_in
from app.services.master_key_rotation import rewrap_data_keys
from app.services.operator_service import OperatorService, end_all_access, replace_password
from app.services.portable.refusal import Refused
from app.services.reconciling.bill import UnreadableBill
from app.services.registration_service import RegistrationService
from app.services.retention_check import check_retention
from app.services.tenant_service import CreationPolicy, FirstAdmin, TenantService
from app.services.text_key_upkeep import rewrap_text_keys


async def create_admin(arguments: argparse.Namespace, password: str, settings: Settings) -> str:
    """Create the admin; returns the line to print. Raises AppError or ValidationError."""
    credentials = Credentials(email=arguments.email, password=password)
    async with AsyncExitStack() as stack:
        places = await stack.enter_async_context(places_of(settings))
        passwords = PasswordHasher(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        if arguments.new_tenant is not None:
            body = TenantCreate(name=arguments.new_tenant, admin=credentials)
            policy = CreationPolicy(registration=settings.default_registration)
            _, admin = await TenantService(places, passwords, Origin(), policy).create_by_operator(
                body.name, FirstAdmin(credentials.email, credentials.password), arguments.region
            )
        else:
            admin = await RegistrationService(places, passwords, Origin()).create_admin(
                arguments.tenant_id, credentials.email, credentials.password
            )
    assert admin is not None
    return f"Created admin {admin.email} (id {admin.id}) in tenant {admin.tenant_id}"


async def set_password(arguments: argparse.Namespace, password: str, settings: Settings) -> str:
    """Give a user another password; returns the line to print. Raises AppError or ValidationError."""
    credentials = Credentials(email=arguments.email, password=password)
    async with AsyncExitStack() as stack:
        places = await stack.enter_async_context(places_of(settings))
        passwords = PasswordHasher(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        user_id = await replace_password(
            places, passwords, credentials.email, credentials.password, keep_keys=arguments.keep_api_keys
        )
    return f"User {user_id} has another password, and no session"


async def set_ceiling(arguments: argparse.Namespace, settings: Settings) -> str:
    """Set the tenant's ceiling; returns the line to print. Raises AppError."""
    async with AsyncExitStack() as stack:
        places = await stack.enter_async_context(places_of(settings))
        place = await places.of_tenant(arguments.tenant_id)
        async with owners_of(settings) as owners:
            service = OperatorService(place.database, owners[place.region or HOME])
            await service.set_ceiling(arguments.tenant_id, arguments.micro_usd)
    shown = "the default" if arguments.default else f"{arguments.micro_usd} micro-USD a month"
    return f"The ceiling of tenant {arguments.tenant_id} is {shown}"


async def end_all_sessions(arguments: argparse.Namespace, settings: Settings) -> str:
    """End every session of every tenant; returns the line to print. Raises AppError."""
    async with owners_of(settings) as owners:
        for url in owners.values():
            await end_all_access(url, api_keys=arguments.api_keys)
    return f"All sessions{' and API keys' if arguments.api_keys else ''} have ended"


async def fill_directory(settings: Settings) -> str:
    """List the tenants of all regions; returns the lines to print. Raises AppError, UnusableSetting."""
    lines = []
    async with places_of(settings, listed=False) as places, owners_of(settings) as owners:
        if not isinstance(places, RegionalPlaces):
            return "There is one region, and no directory"
        for region, url in owners.items():
            listed = await list_region(places, region, url)
            lines.append(f"{region}: {listed.tenants} tenants, {listed.values} emails, names and keys")
            lines += [f"  taken by another: the {conflict}" for conflict in listed.conflicts]
    return "\n".join(lines)


async def rotate_master_key(settings: Settings) -> str:
    """Wrap all data keys anew; returns the line to print. Raises AppError, UnusableSetting."""
    masters = settings.master_keys()
    if masters is None:
        raise UnusableSetting("MASTER_KEY", "it is not set")
    count, left = 0, list[str]()
    async with places_of(settings) as places:
        for region in settings.region_urls() or {HOME: ""}:
            done = await rewrap_data_keys(places.chosen(region or None).database, masters)
            count, left = count + done.count, left + done.left
            done = await rewrap_text_keys(places.chosen(region or None).database)
            count, left = count + done.count, left + done.left
    if left:
        reason = f"{count} data keys wrapped anew; left, for the keys before and another try: {', '.join(left)}"
        raise UnusableSetting("PREVIOUS_MASTER_KEYS", reason)
    return f"{count} data keys wrapped anew; all are under the present MASTER_KEY"


async def erased_tenants(settings: Settings, since: datetime) -> str:
    """The lines of the record, of all regions. Raises AppError."""
    async with owners_of(settings) as owners:
        return "\n".join([line for url in owners.values() for line in await erased_since(url, since)])


async def replay_erasures(settings: Settings, record: Iterable[str]) -> str:
    """Erase again, in all regions, what a restored backup brought back; returns the line to print.

    Raises AppError, UnusableSetting; `UnreadableRecord`: nothing was erased.
    """
    named = tenants_in(record)
    erased = []
    async with places_of(settings) as places, owners_of(settings) as owners:
        for region, url in owners.items():
            place = places.chosen(None if region == HOME else region)
            again = await erase_again(TenantEraser(place.database, claims=place.claims), url, named)
            for tenant_id in again:
                await DocumentIndexes(url, print).forget(tenant_id)
            erased += again
    return f"Erased again: {len(erased)} of {len(named)}" + (f" ({', '.join(erased)})" if erased else "")


async def move_tenant(arguments: argparse.Namespace, settings: Settings) -> str:
    """Move the tenant, and erase what it left; returns the line to print.

    Raises:
        AppError, UnusableSetting, MoveGaveUp
    """
    async with places_of(settings) as places:
        place = places.chosen(arguments.region)
        left: Iterable[str] = ()
        try:
            moved = await TenantMove(
                settings.owner_urls(), arguments.tenant_id, arguments.region, arguments.window
            ).run()
            left = moved.left
        except MoveGaveUp as refusal:
            left = refusal.left
            raise
        finally:
            for region in left:
                await TenantEraser(places.chosen(region).database).erase(arguments.tenant_id)
                await DocumentIndexes(settings.owner_urls()[region], print).forget(arguments.tenant_id)
    frozen = f", read alone for {moved.frozen_seconds:.1f} s" if moved.frozen_seconds else ""
    return f"Tenant {arguments.tenant_id} lives in {place.region}: {moved.rows} rows copied{frozen}"


async def index_documents(arguments: argparse.Namespace, settings: Settings) -> str:
    """Make and drop the indexes of large tenants, in all regions; returns the line to print.

    Raises AppError, UnusableSetting.
    """
    async with owners_of(settings) as owners:
        for region, url in owners.items():
            indexes = DocumentIndexes(url, partial(print, flush=True), name=region)
            await indexes.bring_up_to_date(arguments.least, arguments.most)
    return "Large tenants have their indexes"


async def verify_retention(arguments: argparse.Namespace, settings: Settings) -> str:
    """The report; raises AppError with it where something was found, or could not be tried."""
    async with AsyncExitStack() as stack:
        places = await stack.enter_async_context(places_of(settings))
        owners = await stack.enter_async_context(owners_of(settings))
        passwords = PasswordHasher(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        return await check_retention(
            arguments.url, places, owners, passwords, redis_url=settings.redis_url, logs=arguments.log
        )


def _run(arguments: argparse.Namespace) -> str:
    if arguments.command == "erased-tenants":
        return asyncio.run(erased_tenants(get_settings(), arguments.since))
    if arguments.command == "replay-erasures":
        record = sys.stdin.read() if arguments.record == "-" else Path(arguments.record).read_text("utf-8")
        return asyncio.run(replay_erasures(get_settings(), record.splitlines()))
    plain = {
        "set-ceiling": set_ceiling,
        "end-all-sessions": end_all_sessions,
        "export-tenant": export_tenant,
        "import-tenant": import_tenant,
        "index-documents": index_documents,
        "move-tenant": move_tenant,
        "verify-retention": verify_retention,
    }
    if arguments.command in plain:
        return asyncio.run(plain[arguments.command](arguments, get_settings()))
    alone = {"encrypt-text": encrypt_text, "fill-directory": fill_directory, "rotate-master-key": rotate_master_key}
    if arguments.command in alone:
        return asyncio.run(alone[arguments.command](get_settings()))
    password = sys.stdin.readline().rstrip("\r\n") if arguments.password_stdin else getpass.getpass()
    with_password = set_password if arguments.command == "set-password" else create_admin
    return asyncio.run(with_password(arguments, password, get_settings()))


def main() -> int:
    arguments = parse()
    try:
        if arguments.command == "verify-isolation":
            return verify_isolation(arguments, get_settings())
        if arguments.command == "reconcile":
            said, status = reconcile(arguments, get_settings())
            print(said)
            return status
        print(_run(arguments))
    except (UnreadableRecord, UnreadableBill, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except (AppError, UnusableSetting, MoveGaveUp, Refused) as error:
        print(error, file=sys.stderr)
        return 2 if arguments.command == "reconcile" else 1  # which says by 1 that something differs
    except ValidationError as error:
        for item in error.errors():
            print(f"{'.'.join(map(str, item['loc']))}: {item['msg']}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
