"""What is not to be stored is nowhere but in the process; what goes on with a stored message finds it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from app.core.errors import (
    AppError,
    MessageInterrupted,
    NeedsStoring,
    NotStored,
    PreviousNotFound,
    ToolResultsMissing,
    ToolResultsUnasked,
)
from app.core.ids import new_id
from app.core.items import Message, Options, Tool, ToolCall, ToolResult
from app.core.items import ReasoningDelta as Thought
from app.core.items import TextDelta as Said
from app.core.principal import Principal
from app.core.rate_limits.tokens import CallersTokens
from app.core.settings.models import Price
from app.messages.generation import Reader
from app.messages.idempotency import IdempotentRequest
from app.messages.stream import Delta, End
from app.services.message_service import MessageService
from app.services.prompts import Prompt
from app.services.quoting import Quoting
from tests.committed.conftest import Serve, rows_of
from tests.committed.playing import PlayingProvider
from tests.helpers import Member, Tenant, make_tenant
from tests.waiting import until

CANARY = "canary-7261-in-a-coal-mine"


def service_of(app: FastAPI, member: Member, role: str = "user") -> MessageService:
    container = app.state.container
    db = container.database.tenant_session(Principal(member.id, member.tenant_id, role, 0))
    quoting = Quoting(db, None, container.shared.meter, container.intake.passages)
    return MessageService(
        db,
        container.engine,
        container.signals,
        container.intake,
        container.search_indexer,
        quoting,
        CallersTokens(None, db.principal),
    )


async def nowhere(superuser: asyncpg.Connection) -> None:
    """No row of any table holds the canary."""
    tables = await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        found = await superuser.fetchval(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE $1', f"%{CANARY}%")
        assert found == 0, table


@asynccontextmanager
async def begun(serve: Serve, provider: PlayingProvider, **changes: Any) -> AsyncIterator[tuple[FastAPI, Tenant]]:
    async with serve(provider, **changes) as (app, client):
        yield app, await make_tenant(client)


async def test_it_is_answered_and_leaves_figures_alone(serve: Serve, superuser: asyncpg.Connection) -> None:
    calls = [ToolCall(f"call_{CANARY}", "look", CANARY), Message("assistant", CANARY)]
    async with begun(serve, PlayingProvider(calls)) as (app, acme):
        service = service_of(app, acme.user)
        prompt = Prompt(
            CANARY,
            items=(Message("user", CANARY),),
            options=Options(tools=(Tool("look", CANARY),)),
            api="chat",
            stored=False,
            metadata={"of": CANARY},
            instructions=CANARY,
            extra={"say": CANARY},
        )
        once = IdempotentRequest.of("once", "x", {"content": CANARY})
        outcome = await (await service.send(prompt, once)).outcome()
        with pytest.raises(NotStored) as refused:
            await service.send(prompt, once)
        with pytest.raises(AppError):
            await service.retry(outcome.row.id)
        found = await service.get(outcome.row.id)
    assert list(outcome.output) == calls
    assert refused.value.message_id == outcome.row.id
    (row,) = await rows_of(superuser, acme)
    assert (row["api"], row["stored"], row["content"], row["response"]) == ("chat", False, "", "")
    assert (row["status"], row["input_tokens"], row["finish_reason"]) == ("completed", 10, "tool_calls")
    assert (found.stored, found.output) == (False, None)
    await nowhere(superuser)


async def test_its_stream_lives_in_the_process_and_ends_with_its_reader(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    provider = PlayingProvider(held=True)
    async with begun(serve, provider, llm_prices={"playing-1": Price(input=10**6, output=10**6)}) as (app, acme):
        service = service_of(app, acme.user)
        sent = await service.send(Prompt(CANARY, streams=True, stored=False))
        await provider.wait_for_calls(1)
        reader, heard = Reader(), []
        events = service.events(sent, reader)
        assert await anext(events) == sent.row
        for event in (Said(CANARY), Thought(CANARY)):
            provider.say(event)
            event_heard = await anext(events)
            while not isinstance(event_heard, Delta):
                event_heard = await anext(events)
            heard.append(event_heard.event)
        await app.state.container.engine._deltas.write(look_at_all=True)
        await nowhere(superuser)
        reader.close()
        assert sent.generation is not None
        ended = await asyncio.shield(sent.generation.ended)
    assert heard == [Said(CANARY), Thought(CANARY)]
    assert ended is not None
    assert (ended.status, ended.response, provider.cancelled) == ("cancelled", "", 1)
    assert ended.cost_micro_usd > 0
    await nowhere(superuser)


async def test_the_end_of_its_stream_has_all_that_was_said(serve: Serve) -> None:
    async with begun(serve, PlayingProvider([Message("assistant", "Fine.")])) as (app, acme):
        service = service_of(app, acme.user)
        sent = await service.send(Prompt("x", streams=True, stored=False))
        *_, end = [event async for event in service.events(sent, Reader()) if event is not None]
    assert isinstance(end, End)
    assert end.output == (Message("assistant", "Fine."),)


@pytest.mark.parametrize("what", [{"background": True}, {"conversation_id": "x"}, {"webhook_url": "https://x.invalid"}])
async def test_what_comes_back_to_it_later_is_refused(serve: Serve, what: dict[str, Any]) -> None:
    async with begun(serve, PlayingProvider()) as (app, acme):
        with pytest.raises(NeedsStoring):
            await service_of(app, acme.user).send(Prompt("x", stored=False, **what))


async def test_a_message_goes_on_with_a_chain_of_them(serve: Serve) -> None:
    first: list[Any] = [ToolCall("call_a", "look", "{}")]
    provider = PlayingProvider(first, [Message("assistant", "A cat.")], [Message("assistant", "Grey.")])
    async with begun(serve, provider) as (app, acme):
        service = service_of(app, acme.user)
        one = await (await service.send(Prompt("What?", instructions="Be brief", api="responses"))).outcome()
        with pytest.raises(ToolResultsMissing):
            await service.send(Prompt("Well?", previous_id=one.row.id))
        with pytest.raises(ToolResultsUnasked):
            await service.send(Prompt("", previous_id=one.row.id, items=(ToolResult("call_b", "x"),)))
        result = (ToolResult("call_a", "whiskers"),)
        two = await (await service.send(Prompt("", previous_id=one.row.id, items=result))).outcome()
        await (await service.send(Prompt("Which colour?", previous_id=two.row.id, instructions="Shout"))).outcome()
        asked = await service.request_of(one.row.id)
    assert (asked.items, asked.instructions) == ((Message("user", "What?"),), "Be brief")
    assert provider.calls[0].items == [Message("system", "Be brief"), Message("user", "What?")]
    assert list(provider.calls[2].items) == [
        Message("system", "Shout"),
        Message("user", "What?"),
        *first,
        *result,
        Message("assistant", "A cat."),
        Message("user", "Which colour?"),
    ]


async def test_only_a_stored_message_that_the_caller_sees_is_gone_on_with(
    serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with begun(serve, PlayingProvider()) as (app, acme):
        other, own = service_of(app, (await another(app, serve)).user), service_of(app, acme.user)
        private = service_of(app, acme.admin, "admin")
        theirs = (await (await other.send(Prompt("x"))).outcome()).row.id
        unstored = (await (await own.send(Prompt("x", stored=False))).outcome()).row.id
        failed = (await (await own.send(Prompt("x"))).outcome()).row.id
        await superuser.execute("UPDATE messages SET status = 'failed' WHERE id = $1", failed)
        admins = (await (await private.send(Prompt("x"))).outcome()).row.id
        await superuser.execute("UPDATE tenants SET message_visibility = 'own' WHERE id = $1", acme.id)
        count = len(await rows_of(superuser, acme))
        details = set()
        for previous in (theirs, unstored, failed, admins, new_id(), "no id", ""):
            with pytest.raises(PreviousNotFound) as refused:
                await own.send(Prompt("x", previous_id=previous))
            details.add(refused.value.detail)
        assert len(details) == 1
        assert len(await rows_of(superuser, acme)) == count


async def another(app: FastAPI, serve: Serve) -> Tenant:
    async with serve(PlayingProvider()) as (_, client):
        return await make_tenant(client)


async def test_a_shutdown_ends_it_as_any(serve: Serve, superuser: asyncpg.Connection) -> None:
    provider = PlayingProvider(held=True)
    async with begun(serve, provider) as (app, acme):
        sent = await service_of(app, acme.user).send(Prompt(CANARY, streams=True, stored=False))
        await provider.wait_for_calls(1)
        provider.say(Said(CANARY))
        await app.state.container.engine.drain(0)
        await until(lambda: sent.generation is not None and sent.generation.ended.done(), "the end")
        with pytest.raises(MessageInterrupted):
            await sent.outcome()
    (row,) = await rows_of(superuser, acme)
    assert (row["status"], row["error_code"], row["response"]) == ("failed", "interrupted", "")
    await nowhere(superuser)
