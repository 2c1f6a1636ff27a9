"""What somebody gets who runs SQL of its choice as the runtime role: not single grants, but sequences of steps."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.helpers import Tenant, send, unique_email

ENTRY = "INSERT INTO audit_log (id, tenant_id, action, actor_type) VALUES ($1, app_tenant(), 'user.created', $2)"


class Intruder:
    """A connection of the runtime role, in one transaction that is rolled back. Like an injection, it may set any
    setting and enter any tenant that it can name."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> Any:
        """The value of the last one; each but the last may be refused, the next goes on all the same."""
        value = None
        for statement in statements:
            value = await self.attempt(statement)
        return value

    async def attempt(self, statement: str, *values: object) -> Any:
        """What a statement answers, or the class of its refusal."""
        savepoint = self._connection.transaction()
        await savepoint.start()
        try:
            value = await self._connection.fetchval(statement, *values)
        except asyncpg.PostgresError as error:
            await savepoint.rollback()
            return type(error)
        await savepoint.commit()
        return value


@pytest.fixture
async def intruder(superuser: asyncpg.Connection, acme: Tenant) -> AsyncIterator[Intruder]:
    transaction = superuser.transaction()
    await transaction.start()
    await superuser.execute("SELECT enter_tenant($1)", acme.id)
    yield Intruder(superuser)
    await transaction.rollback()


async def entries_of(superuser: asyncpg.Connection, tenant: Tenant) -> list[asyncpg.Record]:
    """As the intruder's transaction sees them, its role included."""
    return await superuser.fetch("SELECT * FROM audit_log WHERE tenant_id = $1 ORDER BY id", tenant.id)


async def test_a_living_tenant_cannot_be_marked_emptied_and_given_back(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, intruder: Intruder
) -> None:
    before = await entries_of(superuser, acme)
    assert before
    mark = f"UPDATE tenants SET erasing_at = now() WHERE id = '{acme.id}'"
    unmark = f"UPDATE tenants SET erasing_at = NULL WHERE id = '{acme.id}'"

    assert await intruder.run(mark) is asyncpg.InsufficientPrivilegeError
    assert await intruder.run(f"SELECT begin_erasure('{acme.name}')") is False  # nobody's transaction
    assert await intruder.run("SELECT continue_erasure()") is False
    assert await intruder.run("SELECT erase_history(1000)") == 0
    assert await intruder.run("SELECT finish_erasure()") is False
    assert await entries_of(superuser, acme) == before

    # With an admin's id in the settings it can begin what an admin can, and has no way back.
    await intruder.run(f"SELECT set_config('app.user_id', '{acme.admin.id}', true)")
    assert await intruder.run(f"SELECT begin_erasure('{acme.name}')") is True
    assert await intruder.run(unmark) is asyncpg.InsufficientPrivilegeError
    assert await intruder.run("SELECT claim_abandoned_erasure('-1 day')") is None


async def test_a_plain_users_transaction_marks_nothing(acme: Tenant, intruder: Intruder) -> None:
    await intruder.run(f"SELECT set_config('app.user_id', '{acme.user.id}', true)")
    assert await intruder.run(f"SELECT begin_erasure('{acme.name}')") is False


async def test_a_tenant_cannot_be_deleted_and_made_again_without_its_past(acme: Tenant, intruder: Intruder) -> None:
    assert await intruder.attempt("DELETE FROM tenants WHERE id = $1", acme.id) is asyncpg.InsufficientPrivilegeError
    dated = "INSERT INTO tenants (id, name, created_at) VALUES ($1, $2, '2020-01-01')"
    assert await intruder.attempt(dated, new_id(), unique_email("t")) is asyncpg.InsufficientPrivilegeError
    erased = "INSERT INTO tenants (id, name, erasing_at) VALUES ($1, $2, now())"
    assert await intruder.attempt(erased, new_id(), unique_email("t")) is asyncpg.InsufficientPrivilegeError


@pytest.mark.parametrize("column", ["created_at", "actor_id", "api_key_id"])
async def test_time_and_actor_of_an_entry_cannot_be_given(acme: Tenant, intruder: Intruder, column: str) -> None:
    insert = f"INSERT INTO audit_log (id, tenant_id, action, actor_type, {column}) VALUES ($1, $2, 'x', 'operator', "
    value = "'2020-01-01')" if column == "created_at" else f"'{acme.admin.id}')"
    assert await intruder.attempt(insert + value, new_id(), acme.id) is asyncpg.InsufficientPrivilegeError


async def test_who_acts_stands_in_the_entry_whatever_kind_was_claimed(
    superuser: asyncpg.Connection, acme: Tenant, intruder: Intruder
) -> None:
    entered = {
        "user": ("SELECT enter_tenant($1, $2, 'user', 0)", None),
        "api_key": ("SELECT set_config('app.user_id', $2, true), set_config('app.key_id', $1, true)", acme.id),
    }
    for kind, (enter, key) in entered.items():
        await intruder.attempt(enter, acme.id, acme.user.id)
        for claimed in ("operator", "anonymous", "user", "api_key"):
            entry_id = new_id()
            await intruder.attempt(ENTRY, entry_id, claimed)
            entry = await superuser.fetchrow("SELECT *, now() AS present FROM audit_log WHERE id = $1", entry_id)
            assert (entry["actor_type"], entry["actor_id"], entry["api_key_id"]) == (kind, acme.user.id, key)
            assert entry["created_at"] == entry["present"]


async def test_where_nobody_acts_no_user_did(acme: Tenant, intruder: Intruder) -> None:
    for claimed in ("user", "api_key", "x"):
        assert await intruder.attempt(ENTRY, new_id(), claimed) is asyncpg.InsufficientPrivilegeError


async def test_what_was_left_on_a_connection_does_not_name_the_actor(
    superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await superuser.execute("SELECT set_config('app.user_id', $1, false), set_config('app.key_id', 'x', false)", "left")
    try:
        for enter, actor in {
            f"SELECT enter_tenant('{acme.id}')": None,
            f"SELECT enter_tenant('{acme.id}', '{acme.user.id}', 'user', 0)": acme.user.id,
        }.items():
            async with superuser.transaction():
                await superuser.execute(enter)
                entry_id = new_id()
                await superuser.execute(ENTRY, entry_id, "anonymous")
                entry = await superuser.fetchrow("SELECT * FROM audit_log WHERE id = $1", entry_id)
            assert (entry["actor_id"], entry["api_key_id"]) == (actor, None)
    finally:
        await superuser.execute("SELECT set_config('app.user_id', '', false), set_config('app.key_id', '', false)")


async def test_a_ceiling_on_spending_cannot_be_set_lifted_or_avoided(
    client: httpx.AsyncClient, acme: Tenant, intruder: Intruder
) -> None:
    refused = asyncpg.InsufficientPrivilegeError
    insert = (
        "INSERT INTO budgets (id, tenant_id, ceiling_micro_usd, period, spent_micro_usd, reserved_micro_usd)"
        " VALUES ($1, $2, 9, now(), 0, 0)"
    )
    assert await intruder.attempt(insert, new_id(), acme.id) is refused
    assert await intruder.attempt("SELECT set_tenant_ceiling($1, NULL)", acme.id) is refused
    for change in (
        "UPDATE budgets SET ceiling_micro_usd = NULL",
        "UPDATE budgets SET spent_micro_usd = 0, period = '2000-01-01'",
        "DELETE FROM budgets",
    ):
        assert await intruder.attempt(change) is refused


@pytest.mark.parametrize("table", ["sessions", "messages", "users", "tenants"])
async def test_no_temporary_table_can_stand_in_for_one_of_ours(intruder: Intruder, table: str) -> None:
    make = f"CREATE TEMPORARY TABLE {table} (LIKE {table})"
    assert await intruder.attempt(make) is asyncpg.InsufficientPrivilegeError
    for schema in ("public", "pg_temp"):
        assert (
            await intruder.attempt(f"CREATE TABLE {schema}.{table}_x (id text)") is asyncpg.InsufficientPrivilegeError
        )


async def test_inside_a_tenant_only_the_acting_users_hash_is_found(
    superuser: asyncpg.Connection, acme: Tenant, rival: Tenant, intruder: Intruder
) -> None:
    lookup = "SELECT count(*) FROM auth_lookup($1)"
    for member in (acme.admin, acme.user, rival.admin):
        assert await intruder.attempt(lookup, member.email) == 0
    await superuser.execute("SELECT enter_tenant($1, $2, 'user', 0)", acme.id, acme.user.id)
    found = [await intruder.attempt(lookup, member.email) for member in (acme.user, acme.admin, rival.user)]
    assert found == [1, 0, 0]


async def test_the_definer_role_cannot_take_the_mark_off(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    await send(client, acme.user)
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE id = $1", acme.id)
        await superuser.execute("SET LOCAL ROLE llm_saas_definer")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await superuser.execute("UPDATE tenants SET erasing_at = NULL WHERE erasing_at IS NOT NULL")
    finally:
        await transaction.rollback()
