"""Many who read the same, and one who reads too much."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.errors import DatabaseUnavailable
from app.core.items import TextDelta
from app.messages.generation import Reader
from app.messages.shared_looks import SharedLooks
from app.messages.stream import Delta, follow_stored
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest, text_of
from tests.helpers import make_tenant
from tests.waiting import until

READERS = 30


async def test_readers_that_wake_together_look_once_and_each_sees_what_it_has_not_seen(
    listen: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    original = SharedLooks._run

    async def counted(self: SharedLooks, key: Any, look: Any, read: Any) -> Any:
        looks.append(1)
        return await original(self, key, look, read)

    monkeypatch.setattr(SharedLooks, "_run", counted)
    provider = HeldProvider()
    async with listen(provider) as (_, here), listen(HeldProvider()) as (there_app, there):
        acme = await make_tenant(here)
        body = {"content": "x", "background": True}
        sent = (await here.post("/messages", json=body, headers=acme.user.headers)).json()
        await provider.wait_for_calls(1)
        provider.say("one ")

        async def read() -> str:
            async with following(there, sent["id"], acme.user.headers) as events:
                return text_of(await rest(events))

        reading = [asyncio.create_task(read()) for _ in range(READERS)]
        signals = there_app.state.container.signals
        await until(lambda: len(signals._readers.get(sent["id"], ())) == READERS, "all to read")
        looks.clear()
        for reader in signals._readers[sent["id"]]:
            reader.wake()
        provider.say("two")
        provider.release.set()
        assert await asyncio.gather(*reading) == ["one two"] * READERS
    assert len(looks) < READERS


async def test_a_look_is_shared_by_those_who_ask_before_it_begins() -> None:
    looks, read_from = SharedLooks(), list[int]()
    go_on = asyncio.Event()

    async def read(offset: int) -> int:
        read_from.append(offset)
        await go_on.wait()
        return len(read_from)

    first = [asyncio.create_task(looks.look("a", offset, read)) for offset in (7, 3, 5)]
    other = asyncio.create_task(looks.look("b", 9, read))
    while len(read_from) < 2:
        await asyncio.sleep(0)
    # Who comes while it runs may know of something newer: the next one is theirs, and begins when this one ends.
    later = [asyncio.create_task(looks.look("a", offset, read)) for offset in (8, 6)]
    first[1].cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert read_from == [3, 9]
    go_on.set()
    await asyncio.gather(first[0], first[2], other, *later)
    assert read_from == [3, 9, 6]
    assert (looks._next, looks._under_way) == ({}, {})


async def test_a_look_that_fails_fails_for_all_who_share_it() -> None:
    looks = SharedLooks()

    async def read(_: int) -> None:
        raise DatabaseUnavailable

    failed = await asyncio.gather(*(looks.look("a", 0, read) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [DatabaseUnavailable] * 3


async def test_a_user_has_so_many_streams_and_those_that_end_free_their_place(listen: Serve) -> None:
    provider = HeldProvider()
    async with listen(provider, stream_max_per_user=2) as (app, client):
        acme = await make_tenant(client)
        body = {"content": "x", "background": True}
        sent = (await client.post("/messages", json=body, headers=acme.user.headers)).json()
        path = f"/messages/{sent['id']}/stream"
        async with following(client, sent["id"], acme.user.headers) as one:
            await anext(one)
            async with following(client, sent["id"], acme.user.headers) as two:
                await anext(two)
                refused = await client.get(path, headers=acme.user.headers)
                assert_problem(refused, 429)
                assert refused.json()["type"] == "urn:llm-saas:problem:too-many-streams"
                async with following(client, sent["id"], acme.admin.headers) as other:
                    await anext(other)
        provider.release.set()
        await until(lambda: not app.state.container.signals._open_streams, "the streams to end")
        assert (await client.get(path, headers=acme.user.headers)).status_code == 200


async def test_a_reader_skips_what_was_read_for_one_who_stands_further_back() -> None:
    row = SimpleNamespace(id="x", attempts=1, status="completed", response="abcdef", output=None, citations=None)
    deltas = [
        SimpleNamespace(start=start, text=text, kind="text", number=None)
        for start, text in ((0, "ab"), (2, "cd"), (4, "ef"))
    ]

    async def read(_: int) -> Any:
        return row, deltas

    signals = SimpleNamespace(add=lambda *_: None, remove=lambda *_: None)
    events = [event async for event in follow_stored(row, read, signals, Reader(), 3)]  # type: ignore[arg-type]
    assert [event.event for event in events if isinstance(event, Delta)] == [TextDelta("d"), TextDelta("ef")]
