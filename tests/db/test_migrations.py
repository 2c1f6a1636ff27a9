"""The migration, as a superuser and as a plain owner, in one database and in several of a cluster."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from alembic import command
from app.core.errors import AuthenticationError, PermissionDenied
from app.core.ids import new_id
from app.core.principal import Origin, Principal
from app.core.security import PasswordHasher
from app.db import rls
from app.db.provision import ALEMBIC_INI, migrate, newest_revision, provision
from app.db.session import Database
from app.documents.indexes import DocumentIndexes
from app.residency.places import OnePlace
from app.services.tenant_service import FirstAdmin, TenantService
from tests.conftest import dsn, execute

Urls = tuple[URL, URL]


@pytest.fixture
def fresh(template_url: URL) -> Callable[[], Awaitable[Urls]]:
    """Makes an owner with CREATEROLE and a name for its database: (owner's URL, runtime's URL)."""

    async def make(*, create: bool = True) -> Urls:
        tag = secrets.token_hex(4)
        owner, runtime, name = f"owner_{tag}", f"runtime_{tag}", f"db_{tag}"
        admin = template_url.set(database="postgres")
        # Whoever runs a cluster for plain owners gives them what only a superuser may.
        await execute(template_url.set(database="template1"), "CREATE EXTENSION IF NOT EXISTS vector")
        await execute(admin, f"CREATE ROLE {owner} LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
        # The roles exist in this cluster, made by the template's migration.
        await execute(admin, f"GRANT llm_saas_app, llm_saas_definer TO {owner} WITH ADMIN OPTION")
        if create:
            await execute(admin, f"CREATE DATABASE {name} OWNER {owner}")
        owner_url = template_url.set(username=owner, password="pw", database=name)
        return owner_url, owner_url.set(username=runtime, password="run:time'pw")

    return make


async def use(runtime: URL) -> None:
    """The runtime login can serve: create a tenant, enter it, and be held by row-level security."""
    database = Database(runtime, pool_size=1)
    passwords = PasswordHasher(4)
    try:
        tenant, admin = await TenantService(OnePlace(database), passwords, Origin()).create(
            f"Tenant {new_id()}", FirstAdmin(f"{new_id()}@acme.com", "password!")
        )
        principal = Principal(admin.id, tenant.id, "admin", 0)
        async with database.tenant_session(principal).begin():
            pass
        with pytest.raises(AuthenticationError):
            async with database.tenant_session(Principal(new_id(), tenant.id, "admin", 0)).begin():
                pass
    finally:
        passwords.close()
        await database.close()


async def test_a_plain_owner_provisions_a_database_for_a_separate_runtime_login(fresh) -> None:
    owner, runtime = await fresh()
    await provision(owner, runtime)
    await provision(owner, runtime)  # again, as every deployment does
    await use(runtime)
    said: list[str] = []
    await DocumentIndexes(owner.render_as_string(hide_password=False), said.append).bring_up_to_date()
    assert said == ["no tenant has 4000 chunks"]
    with pytest.raises(PermissionDenied):
        await DocumentIndexes(runtime.render_as_string(hide_password=False), said.append).bring_up_to_date()


async def test_the_database_itself_is_created_where_it_is_missing(fresh) -> None:
    owner, runtime = await fresh(create=False)
    await provision(owner, runtime)
    await use(runtime)


async def test_several_databases_live_in_one_cluster(fresh) -> None:
    for _ in range(2):
        owner, runtime = await fresh()
        await provision(owner, runtime)
        await use(runtime)


async def test_an_owner_outside_the_roles_of_a_shared_cluster_is_told_what_to_do(template_url: URL) -> None:
    tag = secrets.token_hex(4)
    admin = template_url.set(database="postgres")
    await execute(admin, f"CREATE ROLE owner_{tag} LOGIN CREATEROLE PASSWORD 'pw'")
    await execute(admin, f"CREATE DATABASE db_{tag} OWNER owner_{tag}")
    owner = template_url.set(username=f"owner_{tag}", password="pw", database=f"db_{tag}")

    with pytest.raises(Exception, match="is not a member of it") as caught:
        await migrate(owner)

    hint = caught.value.orig.__cause__.hint
    assert "GRANT llm_saas_app TO" in hint


async def test_the_runtime_login_cannot_read_without_entering(fresh) -> None:
    owner, runtime = await fresh()
    await provision(owner, runtime)
    await use(runtime)

    connection = await asyncpg.connect(dsn(runtime))
    try:
        assert await connection.fetchval("SELECT count(*) FROM users") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT hashed_password FROM users")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DROP TABLE users")
    finally:
        await connection.close()


async def test_the_models_say_what_the_migration_made(database_url: URL) -> None:
    config = Config(ALEMBIC_INI)
    config.attributes["url"] = database_url
    await run_in_thread(command.check, config)


async def test_down_and_up_again(fresh) -> None:
    owner, runtime = await fresh()
    await provision(owner, runtime)
    config = Config(ALEMBIC_INI)
    config.attributes["url"] = owner
    await run_in_thread(command.downgrade, config, "base")
    await provision(owner, runtime)
    await use(runtime)


async def run_in_thread(function: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(function, *arguments)


def test_entering_takes_two_literals_and_no_more() -> None:
    tenant_id, user_id = new_id(), new_id()
    assert rls.enter_as(Principal(user_id, tenant_id, "admin", 3)) == (
        f"SELECT WHERE enter_tenant('{tenant_id}', '{user_id}', 'admin', 3)"
    )


def test_the_newest_revision_is_read_as_alembic_reads_it() -> None:
    assert newest_revision() == ScriptDirectory.from_config(Config(ALEMBIC_INI)).get_current_head()
