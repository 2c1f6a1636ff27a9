"""Answers that are kept for equal prompts: whose, for how long, and what a message says of it."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio
from pydantic import SecretStr

from app.cache.names import Names
from app.core.completion import FinishReason
from app.core.errors import ProviderUnavailable
from app.core.ids import new_id
from app.core.items import NO_OPTIONS, Message, Options
from app.db.rls import GuardedConnection
from app.llm.base import Call
from tests.committed.caching import CountingProvider, ask, keep_answers, states
from tests.committed.conftest import Serve, rows_of
from tests.committed.sse import events_of, following, rest, text_of
from tests.helpers import Tenant, join
from tests.redis_server import RedisServer, needs_redis
from tests.waiting import until

pytestmark = needs_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


async def test_an_equal_prompt_is_answered_from_what_was_kept_and_costs_nothing(
    server: RedisServer, serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        first, second = await ask(client, acme.user), await ask(client, acme.admin)
        other = await ask(client, acme.user, "Hello!")
        usage = (await client.get("/usage", headers=acme.admin.headers)).json()
    assert provider.calls == 2
    assert [answer.headers["x-cache"] for answer in (first, second, other)] == ["miss", "hit", "miss"]
    assert "age" not in first.headers
    assert 0 <= int(second.headers["age"]) < 3600

    kept, hit = first.json(), second.json()
    assert hit["id"] != kept["id"]
    assert hit["user_id"] == acme.admin.id
    assert (hit["response"], hit["model"], hit["finish_reason"]) == (kept["response"], kept["model"], "stop")
    assert (kept["cached"], hit["cached"]) == (False, True)
    assert [hit[name] for name in ("input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")] == [0] * 4
    assert [row["status"] for row in await rows_of(superuser, acme)] == ["completed"] * 3
    assert [(row["messages"], row["cache_hits"], row["input_tokens"]) for row in usage] == [(3, 1, 6)]


async def test_nothing_is_kept_of_a_tenant_that_did_not_ask_for_it(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client), redis.asyncio.Redis.from_url(server.url) as direct:
        assert await states(client, acme.user, "Hello", "Hello") == ["bypass", "bypass"]
        assert await direct.keys(f"*{acme.id}*") == []
        await keep_answers(client, acme)
        assert await states(client, acme.user, "Hello", "Hello") == ["miss", "hit"]
        await keep_answers(client, acme, None)
        assert await states(client, acme.user, "Hello", "Hello") == ["bypass", "bypass"]
        await keep_answers(client, acme)
        assert await states(client, acme.user, "Hello") == ["miss"]  # what was kept before is forgotten
    assert provider.calls == 6


async def test_without_redis_a_message_says_nothing_of_a_cache(client: httpx.AsyncClient, acme: Tenant) -> None:
    await keep_answers(client, acme)
    answers = [await ask(client, acme.user), await ask(client, acme.user)]
    assert not any("x-cache" in answer.headers or answer.json()["cached"] for answer in answers)


async def test_tenants_with_equal_prompts_share_nothing(
    server: RedisServer, serve: Serve, acme: Tenant, rival: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client):
        for tenant in (acme, rival):
            await keep_answers(client, tenant)
            assert await states(client, tenant.user, "Hello", "Hello") == ["miss", "hit"]
    assert provider.calls == 2


async def test_what_is_moved_under_the_name_of_another_is_refused(
    server: RedisServer, serve: Serve, acme: Tenant, rival: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client), redis.asyncio.Redis.from_url(server.url) as direct:
        names = {}
        for tenant in (acme, rival):
            await keep_answers(client, tenant)
            await ask(client, tenant.user)
            (names[tenant.id],) = await until(lambda of=tenant: direct.keys(f"*{of.id}*"), "the answer to be kept")
        await ask(client, acme.user, "Another")
        (other,) = await until(lambda: others(direct, acme, names[acme.id]), "the other answer to be kept")
        for source in (names[rival.id], other):
            await direct.copy(source, names[acme.id], replace=True)
            answer = await ask(client, acme.user)
            assert (answer.headers["x-cache"], answer.json()["response"][-5:]) == ("miss", "Hello")
            await until(lambda: is_a_hit(client, acme), "the right one to be kept again")
        await direct.set(names[acme.id], b"neither")
        assert await states(client, acme.user, "Hello") == ["miss"]


async def others(direct: Any, tenant: Tenant, known: bytes) -> list[bytes]:
    return [name for name in await direct.keys(f"*{tenant.id}*") if name != known and not name.endswith(b"lock")]


async def is_a_hit(client: httpx.AsyncClient, tenant: Tenant) -> bool:
    return await states(client, tenant.user, "Hello") == ["hit"]


async def test_redis_holds_no_text_and_no_plain_hash_of_one(server: RedisServer, serve: Serve, acme: Tenant) -> None:
    async with (
        serve(CountingProvider(), redis_url=server.url) as (_, client),
        redis.asyncio.Redis.from_url(server.url) as direct,
    ):
        await keep_answers(client, acme, 60)
        await ask(client, acme.user, "A secret")
        (name,) = await until(lambda: direct.keys(f"*{acme.id}*"), "the answer to be kept")
        value = await direct.get(name)
        assert 0 < await direct.pttl(name) <= 60_000
    assert b"secret" not in name + value
    assert b"answer" not in value


async def test_users_who_do_not_see_each_other_share_nothing(server: RedisServer, serve: Serve, acme: Tenant) -> None:
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        other = await join(client, acme.id)
        assert await states(client, acme.user, "Hello") == ["miss"]
        assert await states(client, other, "Hello") == ["hit"]
        body = {"message_visibility": "own"}
        await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.admin.headers)
        for member in (acme.user, other, acme.admin):
            assert await states(client, member, "Hello", "Hello") == ["miss", "hit"]


async def test_a_key_that_may_not_read_shares_nothing(server: RedisServer, serve: Serve, acme: Tenant) -> None:
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        body = {"name": "writes", "scopes": ["messages:write"]}
        key = (await client.post("/api-keys", json=body, headers=acme.user.headers)).json()["key"]
        await ask(client, acme.user)
        headers = {"Authorization": f"Bearer {key}"}
        answers = [await client.post("/messages", json={"content": "Hello"}, headers=headers) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("control", "first", "then"),
    [
        ("no-cache", "bypass", "hit"),
        ("No-Store", "bypass", "miss"),
        ("max-age=60, no-store", "bypass", "miss"),
        ("max-age=60", "miss", "hit"),
    ],
)
async def test_a_request_may_do_without(
    server: RedisServer, serve: Serve, acme: Tenant, control: str, first: str, then: str
) -> None:
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        await ask(client, acme.user, "to learn what the tenant wants")
        answer = await ask(client, acme.user, control=control)
        assert (answer.headers["x-cache"], answer.json()["cached"]) == (first, False)
        await until(lambda: as_then(client, acme, then), f"a {then}")
        again = await ask(client, acme.user, control=control)
        assert again.headers["x-cache"] == ("hit" if control == "max-age=60" else "bypass")


async def as_then(client: httpx.AsyncClient, tenant: Tenant, then: str) -> bool:
    return (await ask(client, tenant.user)).headers["x-cache"] == then


@pytest.mark.parametrize("reason", [*(reason for reason in FinishReason if reason != FinishReason.STOP), None])
async def test_an_answer_that_did_not_end_by_itself_is_not_kept(
    server: RedisServer, serve: Serve, acme: Tenant, reason: FinishReason | None
) -> None:
    provider = CountingProvider()
    provider.finish_reason = reason
    async with serve(provider, redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        assert await states(client, acme.user, "Hello", "Hello") == ["miss", "miss"]
    assert provider.calls == 2


async def test_neither_a_failure_nor_what_is_too_long_is_kept_and_a_retry_asks(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        provider.length = 256 * 1024
        assert await states(client, acme.user, "Hello", "Hello") == ["miss", "miss"]
        provider.length, provider.error = 0, ProviderUnavailable()
        failed = await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
        assert failed.status_code == 503
        provider.error = None
        assert await states(client, acme.user, "Hello") == ["miss"]
        await until(lambda: is_a_hit(client, acme), "the answer to be kept")
        calls = provider.calls
        message_id = failed.json()["message_id"]
        retried = await client.post(f"/messages/{message_id}/retry", headers=acme.user.headers)
        assert (retried.headers["x-cache"], retried.json()["cached"]) == ("bypass", False)
    assert provider.calls == calls + 1


async def test_a_hit_streams_and_is_resumed_as_any_message(server: RedisServer, serve: Serve, acme: Tenant) -> None:
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        first = await ask(client, acme.user)
        body = {"content": "Hello", "stream": True}
        async with client.stream("POST", "/messages", json=body, headers=acme.user.headers) as response:
            assert (response.headers["x-cache"], int(response.headers["age"]) >= 0) == ("hit", True)
            events = await rest(events_of(response))
        assert [event.name for event in events] == ["message", "delta", "completed"]
        assert text_of(events) == first.json()["response"]
        assert events[-1].data["cached"]
        async with following(client, events[0].data["id"], acme.user.headers, "1-7") as resumed:
            assert text_of(await rest(resumed)) == first.json()["response"][7:]
        fresh = {**body, "content": "Streamed first"}
        async with client.stream("POST", "/messages", json=fresh, headers=acme.user.headers) as response:
            assert response.headers["x-cache"] == "miss"
            await rest(events_of(response))
        await until(lambda: hit_of(client, acme, "Streamed first"), "the streamed answer to be kept")


async def hit_of(client: httpx.AsyncClient, tenant: Tenant, content: str) -> bool:
    return await states(client, tenant.user, content) == ["hit"]


async def test_a_background_message_is_answered_at_once_and_an_idempotency_key_holds(
    server: RedisServer, serve: Serve, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        first = await ask(client, acme.user)
        answer = await ask(client, acme.user, background=True)
        assert (answer.status_code, answer.headers["x-cache"], answer.json()["status"]) == (202, "hit", "completed")
        shown = await client.get(answer.headers["location"], headers=acme.user.headers)
        assert shown.json()["response"] == first.json()["response"]

        headers = {**acme.user.headers, "Idempotency-Key": new_id()}
        sent = [await client.post("/messages", json={"content": "Hello"}, headers=headers) for _ in range(2)]
        assert [answer.headers["x-cache"] for answer in sent] == ["hit", "bypass"]
        assert sent[0].json() == sent[1].json()
    assert len(await rows_of(superuser, acme)) == 3


async def test_the_history_of_a_conversation_is_a_part_of_the_prompt(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (_, client):
        await keep_answers(client, acme)
        rooms = []
        for prompt in ("Be brief", "Be brief", "Be kind"):
            body = {"system_prompt": prompt}
            rooms.append((await client.post("/conversations", json=body, headers=acme.user.headers)).json()["id"])
        found = []
        for room in rooms:
            for content in ("Hello", "And then?"):
                found += await states(client, acme.user, content, conversation_id=room)
    assert found == ["miss", "miss", "hit", "hit", "miss", "miss"]
    assert provider.calls == 4


async def test_all_that_an_answer_depends_on_is_in_its_name() -> None:
    # Whatever else a call says of what is asked has to go into the name.
    assert {field.name for field in fields(Call)} == {
        "items",
        "on_event",
        "tenant_id",
        "model",
        "options",
        "credential",
        "allowed",
        "attempts",
        "alone",
    }
    parameters: dict[str, Any] = {"models": ["a"], "output_tokens": 1}
    turns, tenant, epoch = [Message("system", "s"), Message("user", "u")], new_id(), new_id()

    def name(
        secret: str = "k", tenant: str = tenant, epoch: str = epoch, sharer: str = "", turns: list[Message] = turns,
        model: str = "m", options: Options = NO_OPTIONS, **changed: Any,
    ) -> str:  # fmt: skip
        call = Call(turns, model=model, options=options)
        return Names([secret], {"m": {**parameters, **changed}}).of(tenant, epoch, sharer, call)[0].name

    names = [
        name(), name(secret="l"), name(tenant=new_id()), name(epoch=new_id()), name(sharer="user:x"),
        name(models=["b"]), name(output_tokens=2), name(turns=turns[1:]), name(turns=turns[::-1]),
        name(turns=[Message("user", "s"), Message("user", "u")]),
        name(turns=[Message("system", "su"), Message("user", "")]),
        name(model="b"), name(options=Options(temperature=0)), name(options=Options(seed=0)),
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert name() == names[0]


async def test_what_was_kept_under_the_key_before_is_still_found(
    server: RedisServer, serve: Serve, acme: Tenant
) -> None:
    provider = CountingProvider()
    async with serve(provider, redis_url=server.url) as (app, client):
        secret = app.state.settings.secret_key
        await keep_answers(client, acme)
        assert await states(client, acme.user, "Hello") == ["miss"]
        await until(lambda: is_a_hit(client, acme), "the answer to be kept")
    rotated = {"redis_url": server.url, "secret_key": SecretStr(new_id() * 2), "previous_secret_keys": [secret]}
    async with serve(provider, **rotated) as (_, client):
        assert await states(client, acme.user, "Hello") == ["hit"]
    assert provider.calls == 1


async def test_a_hit_is_one_short_transaction_and_a_miss_takes_no_trip_more(
    server: RedisServer, serve: Serve, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[str] = []
    for name in ("fetch", "execute"):
        original = getattr(GuardedConnection, name)

        def counted(self: Any, sql: str, *args: Any, of: Any = original, **options: Any) -> Any:
            trips.append(sql)
            return of(self, sql, *args, **options)

        monkeypatch.setattr(GuardedConnection, name, counted)

    async def of_one(client: httpx.AsyncClient, **headers: str) -> int:
        trips.clear()
        answer = await client.post("/messages", json={"content": "Hi"}, headers={**acme.user.headers, **headers})
        assert answer.status_code == 201
        return len(trips)

    async with serve(CountingProvider()) as (_, client):
        plain = [await of_one(client), await of_one(client, **{"Idempotency-Key": new_id()})]
    async with serve(CountingProvider(), redis_url=server.url) as (_, client):
        off = await of_one(client)
        await keep_answers(client, acme)
        unknown = await of_one(client)
        await until(lambda: hit_of(client, acme, "Hi"), "a hit")
        hit = [await of_one(client), await of_one(client, **{"Idempotency-Key": new_id()})]
        known = await of_one(client, **{"Cache-Control": "no-cache"})
    assert plain == [6, 6]
    assert (off, unknown, known) == (6, 6, 6)
    assert hit == [3, 3]
