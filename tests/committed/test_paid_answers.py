"""An answer that the provider has given is stored, whatever the database does between its return and the commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.core.completion import Completion
from app.llm.base import Call
from app.messages import engine
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.conftest import dsn
from tests.helpers import Tenant, make_tenant
from tests.own_database import OwnDatabase, own_database
from tests.waiting import until, within_patience

# The first statement of a settlement, broken by the state that its test asks for.
BREAK = """
CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER break_it BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION break_it()
"""


class Log:
    """What the engine logs: `settle_retried` can be awaited."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        if event == "settle_retried":
            self.reasons.append(fields["reason"])

    def info(self, event: str, **fields: Any) -> None: ...

    def exception(self, event: str, **fields: Any) -> None: ...

    async def retried(self, reason: str) -> None:
        """Wait until it was tried again for this; a connection that was cut off may have been another before."""
        await until(lambda: any(reason in each for each in self.reasons), f"{reason} among {self.reasons}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(engine, "logger", log)
    monkeypatch.setattr(engine, "LONGEST_RETRY_SECONDS", 0.2)
    return log


@pytest.fixture
async def own(template_url: URL) -> AsyncIterator[OwnDatabase]:
    async with own_database(template_url) as database:
        yield database


@asynccontextmanager
async def answering(serve: Serve, url: str) -> AsyncIterator[tuple[HeldProvider, Tenant, "asyncio.Task[Any]"]]:
    """A message that the provider is answering. One was sent before: its statements are prepared."""
    provider = HeldProvider()
    async with serve(provider, database_url=url, db_pool_size=1) as (_, client):
        acme = await make_tenant(client)
        provider.release.set()
        assert (await client.post("/messages", json={"content": "w"}, headers=acme.user.headers)).status_code == 201
        provider.release.clear()
        sending = asyncio.create_task(client.post("/messages", json={"content": "x"}, headers=acme.user.headers))
        await provider.wait_for_calls(2)
        yield provider, acme, sending
        if not sending.done():
            sending.cancel()


async def stored(sending: "asyncio.Task[httpx.Response]") -> None:
    answer = await within_patience(sending, "the answer")
    assert (answer.status_code, answer.json().get("response")) == (201, "answer to x")


async def test_a_server_that_is_read_only_after_a_failover(serve: Serve, own: OwnDatabase, log: Log) -> None:
    async with answering(serve, own.text) as (provider, _, sending):
        await own.set("SET default_transaction_read_only = on")
        await own.end_sessions()
        provider.release.set()
        await log.retried("ReadOnlySQLTransactionError 25006")
        await own.set("RESET default_transaction_read_only")  # what was opened meanwhile stays read-only
        await stored(sending)


async def test_a_database_that_takes_no_connection(serve: Serve, own: OwnDatabase, log: Log) -> None:
    async with answering(serve, own.text) as (provider, _, sending):
        await own.set("ALLOW_CONNECTIONS false")
        await own.end_sessions()
        provider.release.set()
        await log.retried("ObjectNotInPrerequisiteStateError 55000")
        await own.set("ALLOW_CONNECTIONS true")
        await stored(sending)


async def test_a_lock_that_does_not_come_in_time(serve: Serve, own: OwnDatabase, log: Log) -> None:
    await own.set("SET lock_timeout = '50ms'")
    holder = await asyncpg.connect(dsn(own.url))
    async with answering(serve, own.text) as (provider, _, sending):
        async with holder.transaction():
            await holder.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            provider.release.set()
            await log.retried("LockNotAvailableError 55P03")
        await stored(sending)
    await holder.close()


async def test_a_column_whose_type_changes_under_the_prepared_statements(
    serve: Serve, own: OwnDatabase, log: Log
) -> None:
    owner = await asyncpg.connect(dsn(own.url))
    async with answering(serve, own.text) as (provider, _, sending):
        await owner.execute("ALTER TABLE messages ALTER COLUMN model TYPE text")
        provider.release.set()
        await stored(sending)
        assert log.reasons == ["InvalidCachedStatementError 0A000"]
    await owner.close()


async def test_a_password_that_is_being_rotated(serve: Serve, own: OwnDatabase, log: Log) -> None:
    login = f"login_{own.url.database}"
    await own.admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'old'; GRANT llm_saas_app TO {login}")
    try:
        url = own.url.set(username=login, password="old").render_as_string(hide_password=False)
        async with answering(serve, url) as (provider, _, sending):
            await own.admin.execute(f"ALTER ROLE {login} PASSWORD 'new'")
            await own.end_sessions()
            provider.release.set()
            await log.retried("InvalidPasswordError 28P01")
            await own.admin.execute(f"ALTER ROLE {login} NOLOGIN PASSWORD 'old'")
            await log.retried("InvalidAuthorizationSpecificationError 28000")
            await own.admin.execute(f"ALTER ROLE {login} LOGIN")
            await stored(sending)
    finally:
        await own.admin.execute(f"DROP ROLE {login}")


@pytest.mark.parametrize("state", ["53100", "53200", "57014", "58030", "40001", "XX000", "42501", "42703"], ids=str)
async def test_what_the_database_may_get_over(serve: Serve, own: OwnDatabase, log: Log, state: str) -> None:
    owner = await asyncpg.connect(dsn(own.url))
    async with answering(serve, own.text) as (provider, _, sending):
        await owner.execute(BREAK.format(state=state))
        provider.release.set()
        await log.retried(state)
        assert all(state in reason for reason in log.reasons)
        await owner.execute("DROP TRIGGER break_it ON messages")
        await stored(sending)
    await owner.close()


@pytest.mark.parametrize("state", ["22001", "23514"])
async def test_what_can_never_succeed_is_given_up_at_once(serve: Serve, own: OwnDatabase, log: Log, state: str) -> None:
    owner = await asyncpg.connect(dsn(own.url))
    async with answering(serve, own.text) as (provider, _, sending):
        await owner.execute(BREAK.format(state=state))
        provider.release.set()
        assert (await within_patience(sending, "the answer")).status_code == 503
        assert log.reasons == []
    await owner.close()


async def test_a_defect_beside_the_provider_ends_the_message_at_once(serve: Serve, own: OwnDatabase) -> None:
    provider = HeldProvider()

    async def broken(call: Call) -> Completion:
        raise KeyError("usage")

    async with serve(provider, database_url=own.text) as (_, client):
        acme = await make_tenant(client)
        provider.complete = broken  # type: ignore[method-assign]
        answer = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert answer.status_code == 502
        (message,) = (await client.get("/messages", headers=acme.user.headers)).json()
        assert (message["status"], message["error_code"]) == ("failed", "provider_error")


async def test_a_defect_in_counting_keeps_the_answer(
    serve: Serve, own: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, database_url=own.text) as (app, client):
        acme = await make_tenant(client)

        def broken(*_: Any) -> int:
            raise OverflowError

        monkeypatch.setattr(type(app.state.container.engine.llm), "charge", broken)
        answer = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert (answer.status_code, answer.json()["response"]) == (201, "answer to x")
