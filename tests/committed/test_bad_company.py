"""One message, tenant or server that misbehaves does not hold up the others."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL

from app.core.errors import AuthenticationError, DatabaseUnavailable
from app.core.items import Message
from app.core.settings.llm import Price
from app.llm.base import Call, Completion
from app.messages import turns
from app.messages.generation import Reader
from app.messages.stream import End, follow_stored
from app.messages.sweeper import sweep
from tests.committed.conftest import Serve, rows_of
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest
from tests.committed.test_interleavings import holding, somebody_waits
from tests.committed.test_webhooks import LOOPBACK, Receiver, receiver
from tests.conftest import own_database
from tests.helpers import make_tenant
from tests.waiting import until

__all__ = ["receiver"]
database_url, settings, superuser = own_database()
PENDING = (
    "INSERT INTO messages (id, content, user_id, tenant_id, lease_expires_at) "
    "VALUES (gen_random_uuid()::text, $3, $1, $2, now() - $4 * interval '1 s')"
)


class SayingProvider:
    """Gives its completions in order, the last one for ever."""

    name = "held"
    models = ("held-1",)

    def __init__(self, *completions: Completion) -> None:
        self.completions = list(completions)
        self.turns: list[Sequence[Message]] = []

    async def complete(self, call: Call) -> Completion:
        self.turns.append(call.items)
        return self.completions.pop(0) if len(self.completions) > 1 else self.completions[0]

    async def close(self) -> None: ...


def words(seed: int) -> str:
    """100,000 characters of which a text index keeps the most: each word twice, at four bytes a character."""
    chosen = random.Random(seed)
    text = ""
    while len(text) < 100_000:
        parts = ("".join(chr(chosen.randrange(0x20000, 0x2A6D0)) for _ in range(2)) for _ in range(2))
        text += "-".join(parts) + " "
    return text[:100_000]


async def test_a_message_full_of_different_words_is_stored_and_found(serve: Serve) -> None:
    content, answer = words(1), words(2)
    async with serve(SayingProvider(Completion(answer, "held-1"))) as (_, client):
        acme = await make_tenant(client)
        sent = await client.post("/messages", json={"content": content}, headers=acme.user.headers)
        assert sent.status_code == 201, sent.text
        for text in (content, answer):
            found = await client.get("/messages", params={"q": text.split("-")[0]}, headers=acme.user.headers)
            assert [row["id"] for row in found.json()] == [sent.json()["id"]]


async def test_a_message_that_cannot_be_ended_does_not_keep_the_sweep_from_the_others(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    await superuser.execute(
        "CREATE FUNCTION stick() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.content = 'sticks' THEN RAISE 'stuck'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER stick BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION stick()"
    )
    try:
        async with serve(HeldProvider()) as (app, client):
            acme = await make_tenant(client)
            for content, age in (("sticks", 20), ("goes", 10)):
                await superuser.execute(PENDING, acme.user.id, acme.id, content, age)
            await sweep(app.state.container.database)
            ends = {row["content"]: row["status"] for row in await rows_of(superuser, acme)}
    finally:
        await superuser.execute(
            "DELETE FROM messages WHERE content = 'sticks'; DROP TRIGGER stick ON messages; DROP FUNCTION stick()"
        )
    assert ends == {"sticks": "pending", "goes": "failed"}


async def test_a_long_conversation_is_not_read_whole(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    original = turns._newest_that_fit

    def watched(rows: Any, room: int) -> Any:
        read.append(rows)
        return original(rows, room)

    monkeypatch.setattr(turns, "_newest_that_fit", watched)
    provider = SayingProvider(Completion("short", "held-1"))
    async with serve(provider, llm_context_tokens=100) as (_, client):
        acme = await make_tenant(client)
        made = (await client.post("/conversations", json={}, headers=acme.user.headers)).json()
        for content in ("x" * 50_000, "y" * 50_000, "z" * 40, "now"):
            body = {"content": content, "conversation_id": made["id"]}
            assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 201
    assert [turn.content for turn in provider.turns[-1]] == ["z" * 40, "short", "now"]
    assert sum(len(row.content) for row in read[-1]) <= 400


async def test_turns_are_in_the_order_in_which_they_got_the_conversation(
    serve: Serve, superuser: asyncpg.Connection, database_url: URL
) -> None:
    provider = SayingProvider(Completion("yes", "held-1"))
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        made = (await client.post("/conversations", json={}, headers=acme.user.headers)).json()

        async def say(content: str) -> None:
            body = {"content": content, "conversation_id": made["id"]}
            assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 201

        lock = "SELECT FROM conversations WHERE id = $1 FOR UPDATE"
        async with holding(database_url, lock, made["id"]) as holder:
            second = asyncio.create_task(say("second"))  # has begun its transaction, and waits
            await somebody_waits(superuser)
            await holder.execute(
                "INSERT INTO messages (id, content, response, status, user_id, tenant_id, conversation_id, created_at) "
                "VALUES (gen_random_uuid()::text, 'first', 'yes', 'completed', $1, $2, $3, clock_timestamp())",
                acme.user.id,
                acme.id,
                made["id"],
            )
        await second
        await say("third")
    assert [turn.content for turn in provider.turns[-1] if turn.role == "user"] == ["first", "second", "third"]


async def test_tokens_beyond_what_a_column_holds_do_not_keep_a_message_from_ending(serve: Serve) -> None:
    provider = HeldProvider()
    provider.release.set()
    most = 2**31 - 1
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)

        async def lying(call: Call) -> Completion:
            return Completion("x", "held-1", most, most, most)

        provider.complete = lying  # type: ignore[method-assign]
        sent = (await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)).json()
        assert sent["input_tokens"] == most


async def test_tokens_of_many_runs_do_not_overflow(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = SayingProvider(Completion("x", "held-1", 2**31 - 1, 2**31 - 1, 2**31 - 1))
    async with serve(provider) as (_, client):
        acme = await make_tenant(client)
        sent = (await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)).json()
        await superuser.execute("UPDATE messages SET status = 'cancelled' WHERE id = $1", sent["id"])
        retried = await client.post(f"/messages/{sent['id']}/retry", headers=acme.user.headers)
        assert (retried.status_code, retried.json()["output_tokens"]) == (200, 2**31 - 1)


async def test_a_chat_template_of_the_server_is_claimed_too(serve: Serve, superuser: asyncpg.Connection) -> None:
    """llama.cpp counts 31 tokens for `x`: the model's template puts a system prompt in front."""
    provider = SayingProvider(Completion("x", "held-1", 31, 5))
    prices = {"held-1": Price(input=1_000_000, output=1_000_000)}
    async with serve(provider, llm_prices=prices, llm_max_output_tokens=5) as (_, client):
        acme = await make_tenant(client)
        sent = await client.post("/messages", json={"content": "x"}, headers=acme.user.headers)
        assert sent.json()["cost_micro_usd"] == 36
    (row,) = await rows_of(superuser, acme)
    assert row["claim_micro_usd"] >= row["cost_micro_usd"]


async def test_a_reader_in_another_process_who_lost_access_is_told_and_let_go(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with listen(provider) as (_, here), listen(HeldProvider()) as (there_app, there):
        acme = await make_tenant(here)
        body = {"content": "x", "background": True}
        sent = (await here.post("/messages", json=body, headers=acme.admin.headers)).json()
        async with following(there, sent["id"], acme.user.headers) as events:
            await anext(events)
            await superuser.execute("UPDATE users SET token_version = 7 WHERE id = $1", acme.user.id)
            for readers in there_app.state.container.signals._readers.values():
                for reader in readers:
                    reader.wake()
            (end,) = await rest(events)
        provider.release.set()
    assert (end.name, end.data["status"], end.id) == ("failed", 401, None)


async def test_a_reader_waits_for_a_database_that_is_away() -> None:
    failures: list[Exception] = [DatabaseUnavailable(), DatabaseUnavailable(), AuthenticationError()]
    reads: list[int] = []

    async def read(offset: int) -> Any:
        reads.append(offset)
        raise failures.pop(0)

    class Row:
        id = "x"
        attempts = 1

    class Signals:
        def add(self, message_id: str, reader: Reader) -> None: ...
        def remove(self, message_id: str, reader: Reader) -> None: ...

    reader = Reader()
    seen: list[Any] = []
    async for event in follow_stored(Row(), read, Signals(), reader, 3):  # type: ignore[arg-type]
        seen.append(event)
        reader.wake()
    assert reads == [3, 3, 3]
    assert seen[1:3] == [None, None]
    assert isinstance(seen[-1], End)
    assert isinstance(seen[-1].error, AuthenticationError)


async def test_a_tenant_whose_receivers_never_answer_does_not_hold_up_the_others(
    serve: Serve, receiver: Receiver, superuser: asyncpg.Connection
) -> None:
    held: list[asyncio.StreamWriter] = []

    async def swallow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    tarpit = await asyncio.start_server(swallow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{tarpit.sockets[0].getsockname()[1]}/"
    insert = (
        "INSERT INTO messages (id, content, status, user_id, tenant_id, webhook_url, webhook_due_at) "
        "SELECT gen_random_uuid()::text, 'x', 'completed', $1, $2, $3, now() - $4 * interval '1 s' "
        "FROM generate_series(1, $5::int)"
    )
    try:
        async with serve(HeldProvider(), background_work=True, **LOOPBACK) as (_, client):
            slow, quick = await make_tenant(client), await make_tenant(client)
            await superuser.execute(insert, slow.user.id, slow.id, url, 100, 60)
            await until(lambda: held, "a call of the receiver that never answers")
            await superuser.execute(insert, quick.user.id, quick.id, receiver.url, 0, 3)
            await until(lambda: len(receiver.calls) == 3, "the calls of the other tenant's receiver")
            assert len(held) < 16
    finally:
        for writer in held:
            writer.transport.abort()
        tarpit.close()
