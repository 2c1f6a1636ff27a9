"""Whoever waits hears of the end, and what was begun is ended, whatever is cancelled in between."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.db import rls
from app.db.execution import Connection
from app.db.session import Database, Session
from app.messages.delta_writer import DeltaWriter
from app.messages.generation import Generation
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.helpers import make_tenant
from tests.waiting import until, within_patience


class Gate:
    """Somebody came to it; and it lets everybody through once it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def test_who_waits_for_a_run_that_was_cancelled_while_it_was_stored_hears_of_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, gate = HeldProvider(), Gate()
    provider.release.set()
    async with serve(provider) as (app, client):
        engine = app.state.container.engine

        async def held(*_: Any) -> None:
            await gate.passed()

        monkeypatch.setattr(engine, "_settle", held)
        acme = await make_tenant(client)
        sending = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await within_patience(gate.reached.wait(), "the end to be stored")
        (generation,) = engine._running.values()
        generation.task.cancel()
        problem = assert_problem(await within_patience(sending, "the answer"), 503)
        assert problem["message_id"] == generation.id
        assert not engine._running
        assert not engine._tenants


async def test_a_prompt_whose_request_is_cancelled_as_it_is_stored_is_answered_all_the_same(
    serve: Serve, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, gate = HeldProvider(), Gate()
    provider.release.set()
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        leave, asking = Session.__aexit__, asyncio.Lock()

        async def leave_slowly(self: Session, *error: Any) -> None:
            await leave(self, *error)
            async with asking:
                stored = not gate.reached.is_set() and await rows_of(superuser, acme)
            if stored:
                await gate.passed()

        monkeypatch.setattr(Session, "__aexit__", leave_slowly)
        sending = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await within_patience(gate.reached.wait(), "the prompt to be stored")
        sending.cancel()
        await asyncio.wait([sending])
        gate.opened.set()

        async def completed() -> bool:
            return [row["status"] for row in await rows_of(superuser, acme)] == ["completed"]

        await until(completed, "the answer to be stored")


async def test_a_finished_stream_waits_for_the_write_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is written after the end would stay in the table of what runs."""
    gate = Gate()
    generation: Any = SimpleNamespace(
        id="a message", streams=True, log=SimpleNamespace(length=3), row=SimpleNamespace(stored=True), flushed=0,
        started=0.0,
    )  # fmt: skip
    running: dict[str, Generation] = {"a message": generation}
    database: Any = None
    writer = DeltaWriter(database, running, lambda _: None)

    async def write_slowly(*_: Any) -> set[str]:
        await gate.passed()
        return set()

    monkeypatch.setattr(writer, "_execute", write_slowly)
    writing = asyncio.create_task(writer.write(look_at_all=False))
    await within_patience(gate.reached.wait(), "the write to begin")
    finishing = asyncio.create_task(writer.finish(generation))
    for _ in range(10):  # more turns of the loop than it needs where nothing holds it
        await asyncio.sleep(0)
    assert not finishing.done()
    gate.opened.set()
    await within_patience(asyncio.gather(writing, finishing), "both to end")


async def test_a_connection_is_given_back_although_its_task_is_cancelled_meanwhile(
    database_url: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, gate = Database(database_url, pool_size=1), Gate()
    roll_back = Session._roll_back

    async def roll_back_slowly(self: Session, connection: Connection) -> None:
        await gate.passed()
        await roll_back(self, connection)

    async def fail() -> None:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(text("SELECT 1"))
            raise ZeroDivisionError

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "_roll_back", roll_back_slowly)
            failing = asyncio.create_task(fail())
            await within_patience(gate.reached.wait(), "the connection to be given back")
            failing.cancel()
            await asyncio.wait([failing])
            gate.opened.set()
            await until(lambda: database.pool.in_use == 0, "the connection to be back")
        await database.check()
    finally:
        await database.close()
