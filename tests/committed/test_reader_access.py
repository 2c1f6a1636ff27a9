"""A stream ends when its reader loses its access, and asking costs one transaction for all streams of a caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.errors import AuthenticationError, DatabaseUnavailable
from app.core.ids import new_id
from app.core.principal import Principal
from app.messages import reader_access
from app.messages.reader_access import ReaderAccess
from tests.api.test_api_keys import ALL, bearer, make_key
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest, sending
from tests.helpers import Tenant, make_tenant


async def _disabled(client: httpx.AsyncClient, acme: Tenant) -> None:
    path, body = f"/admin/users/{acme.user.id}", {"disabled": True}
    assert (await client.patch(path, json=body, headers=acme.admin.headers)).status_code == 200


async def _logged_out(client: httpx.AsyncClient, acme: Tenant) -> None:
    assert (await client.post("/logout", headers=acme.user.headers)).status_code == 204


@pytest.mark.parametrize("lose", [_disabled, _logged_out], ids=["disabled", "logged out"])
async def test_a_stream_ends_when_its_reader_has_lost_its_access(
    listen: Serve,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[httpx.AsyncClient, Tenant], Awaitable[None]],
) -> None:
    monkeypatch.setattr(reader_access, "ASK_SECONDS", 0.0)
    provider = HeldProvider()
    async with listen(provider) as (app, client):
        acme = await make_tenant(client)
        async with sending(client, acme.user.headers) as sender:
            message_id = (await anext(sender)).data["id"]
            await provider.wait_for_calls(1)
            async with (
                following(client, message_id, acme.user.headers) as reader,
                following(client, message_id, acme.admin.headers) as admin,
            ):
                provider.say("one ")
                for events in (sender, reader, admin):
                    seen = [event async for event in _until_text(events)]
                    assert seen[-1].data == {"text": "one "}
                await lose(client, acme)
                provider.say("two ")
                for events in (sender, reader):
                    (end,) = await rest(events)
                    assert (end.name, end.data["type"]) == ("failed", "urn:llm-saas:problem:authentication-error")
                assert (await anext(admin)).data == {"text": "two "}
                generation = app.state.container.engine.find(message_id, 1)
                provider.release.set()
                await generation.ended
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["response"]) == ("completed", "one two "), "the message itself goes on"


async def test_a_revoked_keys_stream_ends(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_access, "ASK_SECONDS", 0.0)
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        key = await make_key(client, acme.user, ALL[:2])
        async with sending(client, bearer(key["key"])) as events:
            await anext(events)
            await provider.wait_for_calls(1)
            assert (await client.delete(f"/api-keys/{key['id']}", headers=acme.user.headers)).status_code == 204
            provider.say("one ")
            (end,) = await rest(events)
        assert end.name == "failed"
        provider.release.set()


class Asked:
    """A caller's session that counts its transactions."""

    def __init__(self, error: Exception | None = None) -> None:
        self.principal = Principal(new_id(), new_id(), "user", 0, new_id())
        self.error = error
        self.count = 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        self.count += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        yield self

    async def execute(self, _: object) -> None: ...


async def test_all_streams_of_a_caller_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(reader_access, "monotonic", lambda: now[0])
    access, caller, other = ReaderAccess(), Asked(), Asked()

    async def all_ask() -> tuple[int, int]:
        await asyncio.gather(*(access.require(db) for db in [caller, other] * 100))  # type: ignore[arg-type]
        return caller.count, other.count

    assert await all_ask() == (1, 1)
    assert await all_ask() == (1, 1)
    now[0] += 5.1
    access.was_good(caller.principal)
    assert await all_ask() == (1, 2)
    now[0] += 5.1
    caller.error = AuthenticationError()
    with pytest.raises(AuthenticationError):
        await all_ask()
    with pytest.raises(AuthenticationError):
        await access.require(caller)  # type: ignore[arg-type]
    caller.error = DatabaseUnavailable()
    await access.require(caller)  # type: ignore[arg-type]


async def _until_text(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if event.name == "delta":
            return
