"""Row-level security alone: the statements below have no tenant condition at all."""

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.core.errors import AuthenticationError, IsolationUnavailable
from app.core.ids import new_id
from app.core.principal import Principal
from app.db import rls
from app.db.execution import Connection
from app.db.session import Database
from tests.conftest import served
from tests.helpers import Tenant, send

TABLES = ("tenants", "users", "messages")


@pytest.fixture
def database(app: FastAPI) -> Database:
    return app.state.container.database


def caller(tenant: Tenant) -> Principal:
    return Principal(tenant.user.id, tenant.id, "user", 0)


async def test_without_a_condition_a_tenant_sees_its_own_rows_alone(
    client: httpx.AsyncClient, database: Database, acme: Tenant, rival: Tenant
) -> None:
    await send(client, acme.user)
    await send(client, rival.user)

    async with database.tenant_session(caller(acme)).begin() as connection:
        tenants = (await connection.execute(text("SELECT id FROM tenants"))).scalars()
        users = (await connection.execute(text("SELECT tenant_id FROM users"))).scalars()
        messages = (await connection.execute(text("SELECT tenant_id FROM messages"))).scalars()

    assert tenants == [acme.id]
    assert users == [acme.id] * 2
    assert messages == [acme.id]


async def test_without_a_condition_a_user_sees_and_changes_its_own_rows_alone_where_the_tenant_says_so(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    mine, theirs = [await send(client, member) for member in (acme.user, acme.admin)]
    for member in (acme.user, acme.admin):
        assert (await client.post("/conversations", json={}, headers=member.headers)).status_code == 201
    await superuser.executemany(
        "INSERT INTO message_deltas (tenant_id, message_id, attempt, start, text) VALUES ($1, $2, 1, 0, 'x')",
        [(acme.id, message["id"]) for message in (mine, theirs)],
    )
    admin = Principal(acme.admin.id, acme.id, "admin", 0)
    change = text("UPDATE messages SET response = 'changed' RETURNING id")
    counts = [f"SELECT count(*) FROM {table}" for table in ("messages", "conversations", "message_deltas")]
    for mode, principal, seen in (
        ("tenant", caller(acme), 2),
        ("own", caller(acme), 1),
        ("own", admin, 2),
    ):
        await superuser.execute("UPDATE tenants SET message_visibility = $1 WHERE id = $2", mode, acme.id)
        async with database.tenant_session(principal).begin() as connection:
            assert [(await connection.execute(text(count))).scalar_one() for count in counts] == [seen] * 3
            assert len((await connection.execute(change)).all()) == seen


async def test_a_user_who_sees_its_own_alone_writes_in_nobody_elses_name(
    database: Database, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await superuser.execute("UPDATE tenants SET message_visibility = 'own' WHERE id = $1", acme.id)
    insert = text("INSERT INTO messages (id, content, user_id, tenant_id) VALUES (:id, 'x', :user, :tenant)")
    with pytest.raises(asyncpg.PostgresError, match="row-level security"):
        async with database.tenant_session(caller(acme)).begin() as connection:
            await connection.execute(insert, {"id": new_id(), "user": acme.admin.id, "tenant": acme.id})


async def test_who_did_not_enter_sees_nothing_of_a_tenant_that_is_set_by_hand(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await send(client, acme.user)
    async with superuser.transaction():
        await superuser.execute("SELECT set_config('app.tenant_id', $1, true)", acme.id)
        await superuser.execute("SET LOCAL ROLE llm_saas_app")
        assert await superuser.fetchval("SELECT count(*) FROM messages") == 0


async def test_outside_a_tenant_nothing_is_visible(database: Database, acme: Tenant) -> None:
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        for table in TABLES:
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_updates_without_a_condition_leave_other_tenants_alone(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    theirs = await send(client, rival.user)
    await send(client, acme.user)

    async with database.tenant_session(caller(acme)).begin() as connection:
        changed = await connection.execute(text("UPDATE messages SET response = 'changed' RETURNING id"))

    assert len(changed.all()) == 1
    assert await superuser.fetchval("SELECT response FROM messages WHERE id = $1", theirs["id"]) == theirs["response"]


async def test_a_row_cannot_be_written_into_another_tenant(
    database: Database, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    insert = text("INSERT INTO messages (id, content, user_id, tenant_id) VALUES (:id, 'x', :user, :tenant)")
    for values, refused_by in (
        ({"id": new_id(), "user": rival.user.id, "tenant": rival.id}, "row-level security"),
        ({"id": new_id(), "user": rival.user.id, "tenant": acme.id}, "fk_messages_tenant_id_user_id"),
    ):
        with pytest.raises((asyncpg.PostgresError, AuthenticationError)) as refused:
            async with database.tenant_session(caller(acme)).begin() as connection:
                await connection.execute(insert, values)
        assert refused_by in f"{refused.value} {refused.value.__cause__}"
        assert await superuser.fetchval("SELECT count(*) FROM messages WHERE id = $1", values["id"]) == 0


async def test_password_hashes_cannot_be_selected(database: Database, acme: Tenant) -> None:
    with pytest.raises(asyncpg.PostgresError, match="permission denied"):
        async with database.tenant_session(caller(acme)).begin() as connection:
            await connection.execute(text("SELECT hashed_password FROM users"))


async def test_the_next_checkout_of_a_connection_remembers_no_tenant(
    settings_with_one_connection: Database, acme: Tenant, rival: Tenant
) -> None:
    database = settings_with_one_connection
    for tenant in (acme, rival, acme):
        async with database.tenant_session(caller(tenant)).begin() as connection:
            assert (await connection.execute(text("SELECT id FROM tenants"))).scalars() == [tenant.id]
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM tenants"))).scalar_one() == 0


@pytest.fixture
async def settings_with_one_connection(database_url):
    database = Database(served(database_url), pool_size=1)
    yield database
    await database.close()


async def test_a_connection_that_did_not_enter_a_tenant_executes_nothing(database: Database) -> None:
    driver = await database.pool.take()
    try:
        with pytest.raises(RuntimeError, match="of the runtime"):
            await Connection(driver).execute(text("SELECT 1"))
        with pytest.raises(RuntimeError, match="of the runtime"):
            driver.transaction()
    finally:
        database.pool.give_back(driver)


async def test_a_principal_that_does_not_exist_enters_nowhere(database: Database, acme: Tenant, rival: Tenant) -> None:
    strangers = [
        Principal(acme.user.id, rival.id, "user", 0),
        Principal(new_id(), acme.id, "user", 0),
        Principal(acme.user.id, acme.id, "admin", 0),
        Principal(acme.user.id, acme.id, "user", 1),
    ]
    for principal in strangers:
        with pytest.raises(AuthenticationError):
            async with database.tenant_session(principal).begin() as connection:
                await connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("identifier", ["", "x", "'; DROP TABLE users; --", "a" * 36, None])
def test_nothing_but_an_identifier_becomes_a_literal(identifier: str) -> None:
    with pytest.raises(ValueError, match="not an identifier"):
        rls.enter_tenant(identifier)
    with pytest.raises(ValueError, match="not an identifier"):
        rls.enter_as(Principal(identifier, new_id(), "user", 0))


async def test_an_unprotected_connection_serves_nobody(
    database_url, superuser: asyncpg.Connection, client: httpx.AsyncClient, acme: Tenant
) -> None:
    await superuser.execute("ALTER TABLE messages DISABLE ROW LEVEL SECURITY")
    try:
        answers = [
            await client.get("/messages", headers=acme.user.headers),
            await client.get("/me", headers=acme.user.headers),
            await client.get("/health/ready"),
        ]
    finally:
        await superuser.execute("ALTER TABLE messages ENABLE ROW LEVEL SECURITY")

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert answers[0].json()["type"] == "urn:llm-saas:problem:isolation-unavailable"
    assert (await client.get("/messages", headers=acme.user.headers)).status_code == 200


def test_isolation_unavailable_is_what_the_unprotected_state_means() -> None:
    assert rls.ERRORS["LS002"] is IsolationUnavailable
