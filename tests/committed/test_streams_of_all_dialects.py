"""Streams of every interface: each piece on its own, and two hundred at once on five connections."""

import asyncio
from collections import Counter

import asyncpg
import pytest
from fastapi import FastAPI

from app.core.settings.llm import Price
from app.db import rls
from tests.committed.conftest import Serve, all_given_back, rows_of
from tests.committed.dialects import DIALECTS, Dialect, Reading, reading
from tests.committed.providers import HeldProvider
from tests.helpers import make_tenant
from tests.waiting import patience, until

STREAMS, LEAVING, POOL = 200, 50, 5
PRICES = {"held-1": Price(input=1_000_000, output=1_000_000)}
PIECES = ["One ", "two,", "\n", " three", " – 四", "."]
IDLE = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state LIKE 'idle in transaction%' AND now() - state_change > interval '1 second'"
)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_each_piece_is_read_before_the_provider_says_the_next(listen: Serve, dialect: Dialect) -> None:
    """None waits for another: who collected pieces would wait for ever."""
    provider = HeldProvider()
    async with listen(provider) as (_, client):
        acme = await make_tenant(client)
        first = asyncio.create_task(provider.wait_for_calls(1))
        first.add_done_callback(lambda _: provider.say(PIECES[0]))
        async with patience("the next piece"), reading(client, acme.user, dialect) as answer:
            assert await answer.piece() == PIECES[0]
            for piece in PIECES[1:]:
                provider.say(piece)
                assert await answer.piece() == piece
            provider.release.set()
            assert await answer.rest() == "".join(PIECES)
    assert answer.whole


async def test_two_hundred_streams_hold_no_connection_and_leave_nothing_behind(
    listen: Serve, superuser: asyncpg.Connection
) -> None:
    """A quarter hangs up in the middle. What is not stored ends with its reader, and what was said of it is paid."""
    provider = HeldProvider()
    stayed: list[Reading] = []
    left: list[Reading] = []
    dialects = [DIALECTS[name] for name in ("chat", "responses", "anthropic")]

    async with listen(provider, db_pool_size=POOL, llm_prices=PRICES) as (app, client):
        acme = await make_tenant(client)
        limit = {"limit_micro_usd": 10**9}
        assert (await client.put("/admin/budget", json=limit, headers=acme.admin.headers)).status_code == 200

        async def one(number: int) -> None:
            leaves = number % (STREAMS // LEAVING) == 0
            async with reading(client, acme.user, dialects[number % len(dialects)]) as answer:
                assert await answer.piece() == "Half of it"
                (left if leaves else stayed).append(answer)
                if not leaves:
                    await answer.rest()

        async with patience("the streams"):
            clients = [asyncio.create_task(one(number)) for number in range(STREAMS)]
            await provider.wait_for_calls(STREAMS)
            await all_given_back(app)
            provider.say("Half of it")
            await until(lambda: len(stayed) + len(left) == STREAMS, "all to have read half of it")
            ended = sum(not answer.dialect.stored for answer in left)
            await until(lambda: provider.cancelled == ended, "the calls of those who left to end")
            assert await superuser.fetchval(IDLE) == 0
            provider.say(", and the rest")
            provider.release.set()
            await asyncio.gather(*clients)
        await nothing_is_held(app)
        assert await superuser.fetchval(IDLE) == 0
        (used,) = (await client.get("/usage", headers=acme.admin.headers)).json()
        budget = (await client.get("/admin/budget", headers=acme.admin.headers)).json()

    assert len(left) == LEAVING
    assert {"".join(answer.pieces) for answer in stayed} == {"Half of it, and the rest"}
    assert all(answer.whole for answer in stayed)
    rows = await rows_of(superuser, acme)
    assert Counter(row["status"] for row in rows) == {"completed": STREAMS - ended, "cancelled": ended}
    assert used["messages"] == STREAMS
    for figure in ("input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd"):
        assert used[figure] == sum(row[figure] or 0 for row in rows), figure
    assert all(row["cost_micro_usd"] > 0 for row in rows)
    assert (budget["spent_micro_usd"], budget["reserved_micro_usd"]) == (used["cost_micro_usd"], 0)


async def nothing_is_held(app: FastAPI) -> None:
    container = app.state.container
    database, signals, engine = container.database, container.signals, container.engine
    await until(lambda: not engine._running, "the runs to end")
    await until(lambda: not signals._open_streams, "the streams to end")
    await all_given_back(app)
    async with database.session(rls.ENTER_NO_TENANT), database.background(rls.ENTER_NO_TENANT):
        pass  # both places behind the gate are free
    assert not engine._tenants
    assert not signals._readers
