"""A mixed load while every part is killed, one after another: nothing accepted is lost, answered twice, or another's.

`make test-scale SECONDS=120`; the counts are printed.
"""

import asyncio
import itertools
import os
from collections import Counter
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from tests.conftest import dsn
from tests.helpers import make_tenant
from tests.pgbouncer import MISSING, PROGRAM
from tests.redis_server import needs_redis
from tests.scale.fleet import Fault, Fleet, running
from tests.scale.load import Load, Tally
from tests.scale.provider import Counting, counting
from tests.waiting import until

pytestmark = [needs_redis, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
SECONDS = float(os.environ.get("SECONDS", "20"))
TENANTS = 4
# In which whatever was struck, or stood behind it, is answered for again, on a machine that runs all of it at once.
RECOVERY_SECONDS = 5.0 * float(os.environ.get("TEST_PATIENCE", "1"))
ROWS = "SELECT id, tenant_id, user_id, content, response, status, error_code FROM messages"
PENDING = "SELECT count(*) FROM messages WHERE status = 'pending'"


async def test_every_part_may_die_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with counting() as provider, running(tmp_path, **provider.settings) as fleet:
        async with fleet.servers[0].client() as client:
            tenants = [await make_tenant(client) for _ in range(TENANTS)]
        load = Load([f"http://127.0.0.1:{server.port}" for server in fleet.servers], tenants)
        running_load = asyncio.create_task(load.run())
        try:
            await strike_all(fleet)
        finally:
            load.stop()
            await running_load
        rows = await ended(fleet.database)
    with capsys.disabled():
        print(report(load.tally, rows, provider, fleet.faults))  # noqa: T201 - what the run is for
    judge(load.tally, rows, provider, fleet.faults)


async def strike_all(fleet: Fleet) -> None:
    """Each kind once, with time between them to see who is served."""
    strikes = fleet.strikes()
    for name, strike in strikes:
        await asyncio.sleep(SECONDS / (len(strikes) + 1))
        await fleet.strike(name, strike)
    await asyncio.sleep(SECONDS / (len(strikes) + 1))


async def ended(url: URL) -> list[asyncpg.Record]:
    """All messages once none is pending: what a dead process ran ends after its lease and a sweep."""
    connection = await asyncpg.connect(dsn(url))
    try:

        async def none_is_pending() -> bool:
            return await connection.fetchval(PENDING) == 0

        await until(none_is_pending, "every message to end")
        return list(await connection.fetch(ROWS))
    finally:
        await connection.close()


def late(tally: Tally, faults: list[Fault]) -> list[str]:
    """5xx that no fault explains."""
    return [
        what
        for when, what in tally.failures
        if not any(fault.began <= when <= fault.over + RECOVERY_SECONDS for fault in faults)
    ]


def report(tally: Tally, rows: list[asyncpg.Record], provider: Counting, faults: list[Fault]) -> str:
    ends = Counter(f"{row['status']} {row['error_code'] or ''}".strip() for row in rows)
    lines = [
        "",
        f"{len(tally.accepted)} messages accepted of {len(rows)} stored: {dict(ends)}",
        f"{sum(provider.asked.values())} calls of the provider, {max(provider.asked.values())} at most for a message",
        f"{sum(tally.statuses.values())} answers: {dict(sorted(tally.statuses.items()))}; {tally.broken} broken off",
        f"{len(tally.failures)} of them 5xx, {len(late(tally, faults))} that no fault explains",
    ]
    for fault in faults:
        failed = sum(fault.began <= when <= fault.over + RECOVERY_SECONDS for when, _ in tally.failures)
        lines.append(
            f"  {fault.name}, back after {fault.mended - fault.began:.1f} s: {failed} 5xx, {gap(tally, fault)}"
        )
    return "\n".join(lines)


def gap(tally: Tally, fault: Fault) -> str:
    """The longest time around the fault in which nobody was served."""
    times = [when for when in sorted(tally.served) if fault.began - 1 <= when <= fault.over + RECOVERY_SECONDS]
    longest = max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
    return f"nobody served for {longest:.2f} s at most"


def judge(tally: Tally, rows: list[asyncpg.Record], provider: Counting, faults: list[Fault]) -> None:
    stored = {row["id"]: row for row in rows}
    assert tally.accepted
    assert not tally.accepted.keys() - stored.keys(), "accepted messages that are gone"
    assert not tally.lost, "messages that their author's next list lacked"
    assert not tally.foreign, "rows of another tenant"
    assert max(provider.asked.values()) == 1, "a message was answered twice"
    assert {row["error_code"] for row in rows} <= {None, "interrupted"}
    for message_id, (tenant_id, prompt) in tally.accepted.items():
        row = stored[message_id]
        assert (row["tenant_id"], row["content"]) == (tenant_id, prompt)
        assert row["status"] != "completed" or row["response"] == prompt
    assert len({row["content"] for row in rows}) == len(rows), "a key made two messages"
    assert late(tally, faults) == []
    for fault in faults:
        assert any(fault.over <= when <= fault.over + RECOVERY_SECONDS for when in tally.served), fault.name
