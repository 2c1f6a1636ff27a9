"""For operators: `python -m app.cli create-admin`."""

import argparse
import asyncio
import getpass
import sys
from contextlib import AsyncExitStack

from pydantic import ValidationError

from app.core.config import Settings, get_settings
from app.core.errors import AppError
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db.provision import ready_database
from app.db.session import Database
from app.schemas.tenant import TenantCreate
from app.schemas.user import Credentials
from app.services.registration_service import RegistrationService
from app.services.tenant_service import CreationPolicy, FirstAdmin, TenantService


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.cli", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create-admin", help="create an admin, in a tenant that exists or in a new one")
    create.add_argument("--email", required=True)
    tenant = create.add_mutually_exclusive_group(required=True)
    tenant.add_argument("--tenant-id", help="the id of a tenant that exists")
    tenant.add_argument("--new-tenant", metavar="NAME", help="the name of a tenant to create")
    create.add_argument("--password-stdin", action="store_true", help="read the password's one line from stdin")
    return parser.parse_args(arguments)


async def create_admin(arguments: argparse.Namespace, password: str, settings: Settings) -> str:
    """Create the admin; returns the line to print. Raises AppError or ValidationError."""
    credentials = Credentials(email=arguments.email, password=password)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(ready_database(settings))
        database = Database(url, pool_size=1)
        stack.push_async_callback(database.close)
        passwords = PasswordHasher(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        if arguments.new_tenant is not None:
            body = TenantCreate(name=arguments.new_tenant, admin=credentials)
            policy = CreationPolicy(registration=settings.default_registration)
            _, admin = await TenantService(database, passwords, Origin(), policy).create_by_operator(
                body.name, FirstAdmin(credentials.email, credentials.password)
            )
        else:
            admin = await RegistrationService(database, passwords, Origin()).create_admin(
                arguments.tenant_id, credentials.email, credentials.password
            )
    assert admin is not None
    return f"Created admin {admin.email} (id {admin.id}) in tenant {admin.tenant_id}"


def main() -> int:
    arguments = parse()
    try:
        password = sys.stdin.readline().rstrip("\r\n") if arguments.password_stdin else getpass.getpass()
        print(asyncio.run(create_admin(arguments, password, get_settings())))
    except AppError as error:
        print(error.detail, file=sys.stderr)
        return 1
    except ValidationError as error:
        for item in error.errors():
            print(f"{'.'.join(map(str, item['loc']))}: {item['msg']}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
