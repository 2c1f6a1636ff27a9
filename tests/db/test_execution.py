"""Statements as SQLAlchemy words them and the driver executes them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import cast

import asyncpg
import pytest
from sqlalchemy import URL, Table, Text, bindparam, insert, literal, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.core.ids import new_id
from app.core.principal import Principal
from app.db import execution, rls
from app.db.execution import Connection, Record
from app.db.session import Database
from app.models import Tenant as TenantModel
from tests.helpers import Tenant
from tests.waiting import until

tenants = cast("Table", TenantModel.__table__)


@pytest.fixture
async def database(database_url: URL) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        yield connection


async def test_a_row_has_its_columns_by_name_and_by_place(connection: Connection) -> None:
    (row,) = (await connection.execute(text("SELECT 1 AS id, 'x' AS count, NULL AS model, now() - now()"))).all()
    assert (row.id, row.count, row.model) == (1, "x", None)
    assert row[:2] == (1, "x")
    with pytest.raises(AttributeError):
        _ = row.absent


async def test_a_result_says_when_it_is_not_the_one_row_that_was_asked_for(connection: Connection) -> None:
    none = await connection.execute(text("SELECT 1 WHERE false"))
    two = await connection.execute(text("SELECT * FROM generate_series(1, 2)"))
    assert none.all() == []
    assert none.one_or_none() is None
    assert none.scalar_one_or_none() is None
    assert two.scalars() == [1, 2]
    for ask in (none.one, none.scalar_one, two.one, two.one_or_none, two.scalar_one):
        with pytest.raises(LookupError):
            ask()


async def test_values_are_converted_as_their_types_say_both_ways(connection: Connection) -> None:
    value = {"a": [1, None, "ä"]}
    echoed = select(bindparam("document", type_=JSONB).label("document"), bindparam("names", type_=ARRAY(Text)))
    (row,) = (await connection.execute(echoed, {"document": value, "names": ["x", None]})).all()
    assert row.document == value
    assert row[1] == ["x", None]


async def test_what_a_statement_has_bound_itself_needs_no_value(connection: Connection) -> None:
    statement = select(literal(2)).where(literal("y") == bindparam("letter", "y"))
    assert (await connection.execute(statement)).scalar_one() == 2
    assert (await connection.execute(statement, {"letter": "n"})).one_or_none() is None


async def test_a_list_whose_length_would_be_part_of_the_sql_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="array"):
        await connection.execute(select(literal(2)).where(literal_column("2").in_([1, 2])))


async def test_a_value_that_is_missing_is_said_by_name(connection: Connection) -> None:
    with pytest.raises(LookupError, match="letter"):
        await connection.execute(text("SELECT CAST(:letter AS text)"), {"number": 1})


async def test_an_insert_has_the_columns_that_it_has_values_for(database: Database) -> None:
    statement = insert(tenants).returning(tenants.c.name, tenants.c.registration)
    for more, registration in (({}, "open"), ({"registration": "invite"}, "invite"), ({}, "open")):
        values = {"id": new_id(), "name": f"Tenant {new_id()}", **more}
        async with database.session(rls.enter_tenant(values["id"])) as connection:
            assert (await connection.execute(statement, values)).one() == (values["name"], registration)


async def test_a_statement_that_is_gone_is_forgotten(database: Database, acme: Tenant) -> None:
    gc.collect()
    before = len(execution._known)
    async with database.tenant_session(Principal(acme.user.id, acme.id, "user", 0)).begin() as connection:
        for number in range(5):
            await connection.execute(select(tenants.c.id).where(tenants.c.name == str(number)))
            await connection.execute(update(tenants).values(name=str(number)).where(tenants.c.id == new_id()))
            await connection.execute(text(f"SELECT {number}"))
    gc.collect()
    assert len(execution._known) <= before


async def test_a_statement_that_is_cancelled_ends_at_the_server_and_takes_its_connection_along(
    database: Database, superuser: asyncpg.Connection
) -> None:
    pids: list[int] = []

    async def hang() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            pids.append(connection.driver.get_server_pid())
            await connection.execute(text("SELECT pg_sleep(600)"))

    waits_for = "SELECT wait_event FROM pg_stat_activity WHERE pid = ANY($1)"

    async def sleeps() -> bool:
        return await superuser.fetchval(waits_for, pids) == "PgSleep"

    async def is_gone() -> bool:
        return not await superuser.fetch(waits_for, pids)

    task = asyncio.create_task(hang())
    await until(sleeps, "the statement to run")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(is_gone, "the server to end it")
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        assert connection.driver.get_server_pid() != pids[0]
    assert database.pool.in_use == 0


async def test_between_two_statements_a_cancelled_block_keeps_its_connection(database: Database) -> None:
    reached: asyncio.Event = asyncio.Event()
    pids: list[int] = []

    async def rest() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            pids.append((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            reached.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(rest())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() == pids[0]


async def test_what_is_in_use_beyond_the_pools_size_is_closed_when_it_comes_back(database_url: URL) -> None:
    database = Database(database_url, pool_size=1, max_overflow=2, share=3)
    taken = [await database.pool.take() for _ in range(3)]
    for connection in taken:
        database.pool.give_back(connection)
    assert [connection.is_closed() for connection in taken] == [False, True, True]
    await database.close()


async def test_what_is_in_use_when_the_pool_closes_is_closed_when_it_comes_back(database_url: URL) -> None:
    database = Database(database_url, pool_size=2)
    async with database.session(rls.ENTER_NO_TENANT) as connection:
        await database.close()
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    assert connection.driver.is_closed()


class Named(Record):
    __slots__ = ()

    id: str


class NamedMore(Named):
    __slots__ = ()

    role: str


async def test_a_row_is_of_the_class_that_names_its_columns(connection: Connection) -> None:
    row = (await connection.execute(text("SELECT 'x' AS id, 1 AS other"), {}, Named)).one()
    assert (type(row).__name__, isinstance(row, Named), row.id) == ("Named", True, "x")
    assert NamedMore.columns() == ("id", "role")


async def test_a_statement_that_lacks_a_column_of_its_rows_says_so(connection: Connection) -> None:
    with pytest.raises(LookupError, match="role"):
        await connection.execute(text("SELECT 'x' AS id"), {}, NamedMore)


async def test_one_statement_may_return_rows_of_several_classes(connection: Connection) -> None:
    statement = text("SELECT 'x' AS id, 'user' AS role")
    assert (await connection.execute(statement, {}, Named)).one().id == "x"
    assert (await connection.execute(statement, {}, NamedMore)).one().role == "user"
