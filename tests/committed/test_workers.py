"""Background messages that wait for workers: begun once, by whoever is there, and by nobody twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from operator import itemgetter
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.application import lifespan
from app.core.config import Settings
from app.core.items import Message, ToolCall, ToolResult
from app.core.settings.models import Price
from app.db import rls
from app.llm.base import LLMProvider
from app.llm.router import candidates
from app.messages import doorbell
from app.messages.sweeper import sweep
from app.messages.worker import TAKE, TakenRow, Worker
from app.worker import create_worker
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.committed.providers import HeldProvider
from tests.committed.sse import following, rest, text_of
from tests.committed.test_budgets import CLAIM, PAID, figures, set_budget
from tests.conftest import own_database
from tests.helpers import Tenant, make_tenant
from tests.llm.service import service_of
from tests.waiting import until

database_url, settings, superuser = own_database()
Work = Callable[..., AbstractAsyncContextManager[FastAPI]]
QUEUED: dict[str, Any] = {"message_workers": True}


@pytest.fixture
def work(settings: Settings) -> Work:
    """A worker in this process, with a provider that the test holds."""

    @asynccontextmanager
    async def start(provider: LLMProvider, **changes: Any) -> AsyncIterator[FastAPI]:
        configured = settings.model_copy(update={"db_pool_size": 2, **changes})
        app = create_worker(configured)
        async with lifespan(app):
            app.state.container.engine.llm = service_of(
                provider, configured.llm_prices, configured.llm_max_output_tokens
            )
            yield app

    return start


async def send(client: httpx.AsyncClient, tenant: Tenant, count: int = 1, **body: Any) -> list[str]:
    """Queue so many; their ids."""
    sent = []
    body = {"content": "x", "background": True, **body}
    for _ in range(count):
        answer = await client.post("/messages", json=body, headers=tenant.user.headers)
        assert (answer.status_code, answer.json()["status"]) == (202, "pending"), answer.text
        sent.append(answer.json()["id"])
    return sent


async def take(app: FastAPI, most: int, per_tenant: int = 1000, hold: str = "15 s") -> list[str]:
    """As a worker does that then dies; ids in the order in which they were taken."""
    statement = text(f"SELECT id FROM take_queued_messages({most}, {per_tenant}, interval '{hold}')")
    async with app.state.container.database.background(rls.ENTER_NO_TENANT) as connection:
        return list((await connection.execute(statement)).scalars())


async def test_a_worker_answers_what_another_process_reserved_and_any_process_shows_it(
    listen: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider, unused = HeldProvider(), HeldProvider()
    async with listen(unused, **QUEUED) as (_, api), listen(unused) as (_, other), work(provider) as worker:
        acme = await make_tenant(api)
        (message,) = await send(api, acme)
        await provider.wait_for_calls(1)
        provider.say("What is written there ")
        await worker.state.container.engine._deltas.write(look_at_all=True)
        async with following(other, message, acme.user.headers) as events:
            seen = [await anext(events), await anext(events)]
            provider.say("is read here")
            provider.release.set()
            seen += await rest(events)
        assert (text_of(seen), seen[-1].name) == ("What is written there is read here", "completed")
        (row,) = await rows_of(superuser, acme)
        assert (row["status"], row["attempts"], row["queue_tag"]) == ("completed", 1, None)
        assert row["taken_at"] is not None
    assert unused.calls == 0


async def test_what_waits_and_what_a_worker_runs_are_cancelled_from_any_process(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, **QUEUED, **PAID) as (_, api):
        acme = await make_tenant(api)
        await set_budget(api, acme, 10_000)
        waiting, running = await send(api, acme, 2)
        assert await figures(superuser, acme) == [(0, 2 * CLAIM)]
        answer = await api.post(f"/messages/{waiting}/cancel", headers=acme.user.headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert await figures(superuser, acme) == [(0, CLAIM)]
        async with work(provider, **PAID):
            await provider.wait_for_calls(1)
            answer = await api.post(f"/messages/{running}/cancel", headers=acme.user.headers)
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        ((_, reserved),) = await figures(superuser, acme)
    assert (provider.calls, provider.cancelled, reserved) == (1, 1, 0)


async def test_what_is_delivered_twice_is_begun_once(serve: Serve, work: Work, superuser: asyncpg.Connection) -> None:
    provider = HeldProvider()
    async with serve(provider, **QUEUED) as (app, api):
        acme = await make_tenant(api)
        await send(api, acme)
        values = {"most": 1, "per_tenant": 1000, "hold": timedelta(seconds=15)}
        async with app.state.container.database.background(rls.ENTER_NO_TENANT) as connection:
            (taken,) = (await connection.execute(TAKE, values, TakenRow)).all()
        async with work(provider) as first, work(provider) as second:
            deliveries = []
            for container in (first.state.container, second.state.container, first.state.container):
                worker = Worker(container.database, container.engine, 1, 10, 100)
                deliveries.append(asyncio.create_task(worker._answer(taken)))
            await provider.wait_for_calls(1)
            await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
            provider.release.set()
            await asyncio.gather(*deliveries)
            assert not first.state.container.engine._tenants
            assert not second.state.container.engine._tenants
        (row,) = await rows_of(superuser, acme)
    assert (row["status"], provider.calls) == ("completed", 1)


async def test_a_worker_that_died_before_it_began_leaves_its_messages_to_the_next(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **QUEUED) as (app, api):
        acme = await make_tenant(api)
        (message,) = await send(api, acme)
        assert await take(app, 10) == [message]
        assert await take(app, 10) == []  # it is held
        await superuser.execute("UPDATE messages SET taken_at = now() - interval '16 s' WHERE id = $1", message)
        async with work(provider, message_lease_seconds=15):

            async def completed() -> bool:
                return (await rows_of(superuser, acme))[0]["status"] == "completed"

            await until(completed, "the answer")
    assert provider.calls == 1


async def test_nothing_is_begun_for_a_tenant_that_is_being_erased(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **QUEUED) as (_, api):
        acme, rival = await make_tenant(api), await make_tenant(api)
        await send(api, acme)
        # What it holds is much, and is deleted batch by batch: this message's turn has not come.
        await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE id = $1", acme.id)
        async with work(provider, background_work=False):
            await send(api, rival)

            async def completed() -> bool:
                return (await rows_of(superuser, rival))[0]["status"] == "completed"

            await until(completed, "the answer to another, whose turn came later")
        assert provider.calls == 1
        await superuser.execute("DELETE FROM messages WHERE queue_tag IS NOT NULL")


async def test_the_one_message_of_a_tenant_does_not_wait_for_the_thousand_of_another(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with serve(HeldProvider(), **QUEUED, db_pool_size=8, db_connections_per_tenant=8) as (app, api):
        greedy, modest, third = await make_tenant(api), await make_tenant(api), await make_tenant(api)
        # Together, from as many connections as there are: each has a turn of its own all the same.
        await asyncio.gather(*(send(api, greedy) for _ in range(30)))
        of_greedy = [row["id"] for row in sorted(await rows_of(superuser, greedy), key=itemgetter("queue_tag"))]
        assert len({row["queue_tag"] for row in await rows_of(superuser, greedy)}) == 30
        assert await take(app, 4) == of_greedy[:4]
        of_modest = await send(api, modest)
        of_third = await send(api, third, 2)
        turns = await take(app, 6)
        assert set(turns[:2]) & set(of_modest), "it is among the next two"
        assert of_third[0] in turns[:3]
        assert [turn for turn in turns if turn in of_greedy] == of_greedy[4:7]
        await superuser.execute("DELETE FROM messages WHERE queue_tag IS NOT NULL")


async def test_a_tenant_at_its_bound_waits_and_the_others_do_not(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(HeldProvider(), **QUEUED) as (app, api):
        acme, rival = await make_tenant(api), await make_tenant(api)
        first, second, third = await send(api, acme, 3)
        assert await take(app, 10, per_tenant=2) == [first, second]
        assert await take(app, 10, per_tenant=2) == []
        (of_rival,) = await send(api, rival)
        assert await take(app, 10, per_tenant=2) == [of_rival]
        await superuser.execute("UPDATE messages SET status = 'completed', queue_tag = NULL WHERE id = $1", first)
        assert await take(app, 10, per_tenant=2) == [third]
        # Who took them is dead: they do not keep themselves from being taken again.
        await superuser.execute("UPDATE messages SET taken_at = now() - interval '1 h' WHERE queue_tag IS NOT NULL")
        assert set(await take(app, 10, per_tenant=2)) == {second, third, of_rival}
        await superuser.execute("DELETE FROM messages WHERE queue_tag IS NOT NULL")


async def test_a_message_that_no_worker_begins_ends_and_gives_its_claim_back(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(provider, **QUEUED, **PAID, message_queue_seconds=60) as (app, api):
        acme = await make_tenant(api)
        await set_budget(api, acme, 10_000)
        (message,) = await send(api, acme)
        left = await superuser.fetchval("SELECT lease_expires_at - now() FROM messages WHERE id = $1", message)
        assert 50 < left.total_seconds() <= 60
        await superuser.execute("UPDATE messages SET lease_expires_at = now() WHERE id = $1", message)
        assert await sweep(app.state.container.database) == 0  # nobody's lease was taken over
        (row,) = await rows_of(superuser, acme)
        assert (row["status"], row["error_code"], row["queue_tag"]) == ("failed", "not_started", None)
        assert await figures(superuser, acme) == [(0, 0)]
        retried = await api.post(f"/messages/{message}/retry", json={"background": True}, headers=acme.user.headers)
        assert retried.status_code == 202
        provider.release.set()
        async with work(provider, **PAID):

            async def completed() -> bool:
                return (await rows_of(superuser, acme))[0]["status"] == "completed"

            await until(completed, "the answer of a worker")


async def test_what_was_refused_or_rolled_back_waits_for_nobody(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(HeldProvider(), **QUEUED, **PAID) as (app, api):
        acme = await make_tenant(api)
        await set_budget(api, acme, CLAIM)
        body = {"content": "x", "background": True}
        assert (await api.post("/messages", json=body, headers=acme.user.headers)).status_code == 202
        assert (await api.post("/messages", json=body, headers=acme.user.headers)).status_code == 402
        assert len(await take(app, 10)) == 1
        await superuser.execute("DELETE FROM messages WHERE queue_tag IS NOT NULL")


async def test_a_message_whose_bell_nobody_heard_is_found_by_looking(
    serve: Serve, work: Work, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell.Doorbell, "ring", lambda self: None)
    provider = HeldProvider()
    async with work(provider), serve(provider, **QUEUED) as (_, api):
        acme = await make_tenant(api)
        await send(api, acme)
        await provider.wait_for_calls(1)
        provider.release.set()


async def test_a_worker_sends_the_turns_that_the_author_sees(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **QUEUED) as (_, api), work(provider):
        acme = await make_tenant(api)
        made = await api.post("/conversations", json={"system_prompt": "Be kind"}, headers=acme.user.headers)
        conversation = made.json()["id"]

        async def told(content: str, who: dict[str, str], **mode: Any) -> None:
            body = {"content": content, "conversation_id": conversation, **mode}
            answer = await api.post("/messages", json=body, headers=who)
            assert answer.status_code in (201, 202), answer.text

            async def ended() -> bool:
                return all(row["status"] == "completed" for row in await rows_of(superuser, acme))

            await until(ended, "the answer")

        await told("mine", acme.user.headers)
        await told("the admin's", acme.admin.headers)
        await api.patch(f"/tenants/{acme.id}", json={"message_visibility": "own"}, headers=acme.admin.headers)
        await told("now", acme.user.headers, background=True)
    assert [turn.content for turn in provider.turns[-1]] == ["Be kind", "mine", "answer to mine", "now"]


async def test_a_worker_that_stops_lets_what_it_runs_end_and_takes_no_more(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    provider = HeldProvider()
    async with serve(HeldProvider(), **QUEUED) as (_, api):
        acme = await make_tenant(api)
        async with work(provider, worker_concurrency=1) as worker:
            begun, waiting = await send(api, acme, 2)
            await provider.wait_for_calls(1)
            drain = asyncio.create_task(worker.state.container.engine.drain(60))
            await until(lambda: worker.state.container.engine.closed, "the drain to begin")
            provider.release.set()
            await drain
        states = {row["id"]: row["status"] for row in await rows_of(superuser, acme)}
        assert states == {begun: "completed", waiting: "pending"}
        assert provider.calls == 1
        await superuser.execute("DELETE FROM messages WHERE queue_tag IS NOT NULL")


async def test_who_watches_sees_how_many_wait_and_for_how_long(serve: Serve, superuser: asyncpg.Connection) -> None:
    async with serve(HeldProvider(), **QUEUED) as (app, api):
        acme = await make_tenant(api)
        first, *_ = await send(api, acme, 3)
        await superuser.execute("UPDATE messages SET claimed_at = now() - interval '90 s' WHERE id = $1", first)
        await superuser.execute(
            "UPDATE messages SET queue_tag = NULL, taken_at = now() WHERE id = (SELECT max(id) FROM messages)"
        )
        async with app.state.container.database.background(rls.ENTER_NO_TENANT) as connection:
            state = (await connection.execute(text("SELECT * FROM message_queue()"))).one()
        assert (state.waiting, int(state.oldest_seconds), state.under_way) == (2, 90, 1)
        await superuser.execute("DELETE FROM messages")


async def test_a_worker_asks_what_was_asked_with_all_its_items_and_options(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    called = [ToolCall("call_a", "weather", "{}")]
    provider, tools = PlayingProvider(called, [Message("assistant", "Sun.")]), [{"name": "weather"}]
    async with serve(provider, **QUEUED) as (_, api), work(provider):
        acme = await make_tenant(api)
        talk = (await api.post("/conversations", json={"system_prompt": "Kind"}, headers=acme.user.headers)).json()[
            "id"
        ]

        async def answered(**body: Any) -> dict[str, Any]:
            (message,) = await send(api, acme, conversation_id=talk, tools=tools, **body)
            shown: dict[str, Any] = {}

            async def ended() -> bool:
                shown.update((await api.get(f"/messages/{message}", headers=acme.user.headers)).json())
                return shown["status"] != "pending"

            await until(ended, "the worker's answer")
            return shown

        asked = await answered(content="Oslo?", temperature=0.5, metadata={"of": "a test"})
        told = await answered(content="Well?", tool_results=[{"call_id": "call_a", "content": "sun"}])
    assert (asked["finish_reason"], [call["id"] for call in asked["tool_calls"]]) == ("tool_calls", ["call_a"])
    assert (told["response"], asked["metadata"]) == ("Sun.", {"of": "a test"})
    assert provider.calls[0].options.temperature == 0.5
    assert provider.calls[1].options.tools[0].name == "weather"
    assert list(provider.calls[1].items) == [
        Message("system", "Kind"),
        Message("user", "Oslo?"),
        *called,
        ToolResult("call_a", "sun"),
        Message("user", "Well?"),
    ]


async def test_what_it_goes_on_with_may_be_deleted_before_a_worker_begins_it(
    serve: Serve, work: Work, superuser: asyncpg.Connection
) -> None:
    """Nobody can begin it any more: it ends at once, for a reason of its own, and its claim is given back."""
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **QUEUED, **PAID) as (_, api):
        acme = await make_tenant(api)
        await set_budget(api, acme, 10_000)
        user = acme.user.headers
        first = (await api.post("/v1/responses", json={"input": "x"}, headers=user)).json()["id"]
        body = {"input": "y", "background": True, "previous_response_id": first}
        waiting = (await api.post("/v1/responses", json=body, headers=user)).json()["id"]
        assert (await api.delete(f"/v1/responses/{first}", headers=user)).status_code == 200
        async with work(provider, **PAID):

            async def ended() -> bool:
                return (await rows_of(superuser, acme))[0]["status"] != "pending"

            await until(ended, "the message to end")
        (row,) = await rows_of(superuser, acme)
        assert (row["status"], row["error_code"], row["queue_tag"]) == ("failed", "previous_gone", None)
        shown = (await api.get(f"/v1/responses/{waiting}", headers=user)).json()
    assert shown["status"] == "failed"
    assert "deleted" in shown["error"]["message"]
    assert [reserved for _, reserved in await figures(superuser, acme)] == [0]
    assert provider.calls == 1


async def test_what_was_set_aside_before_there_were_fallbacks_pays_for_none(serve: Serve, work: Work) -> None:
    prices = {"held-1": Price(input=1, output=1), "dear-1": Price(input=10**6, output=10**6)}
    paid: dict[str, Any] = {"llm_prices": prices, "llm_max_output_tokens": 100}
    provider = PlayingProvider()
    provider.models = ("held-1", "dear-1")
    async with serve(HeldProvider(), **QUEUED, **paid) as (_, api), work(provider, **paid) as worker:
        acme = await make_tenant(api)
        await set_budget(api, acme, 10_000)
        (message,) = await send(api, acme)
        await until(lambda: provider.calls, "the worker to ask")
        assert provider.calls[0].alone
        assert [model.name for model in candidates(worker.state.container.engine.llm.catalogue, provider.calls[0])] == [
            "held-1"
        ]
        body = {"content": "x", "background": True}
    async with serve(provider, **QUEUED, **paid) as (_, api), work(provider, **paid):
        answer = await api.post("/messages", json=body, headers=acme.user.headers)
        assert answer.status_code == 202, message
        await until(lambda: len(provider.calls) > 1, "the worker to ask again")
    assert not provider.calls[1].alone, "it was set aside for both"
