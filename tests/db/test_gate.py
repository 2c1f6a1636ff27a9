"""The gate before the connections: lines of their own, a share for each, and a bound on the wait."""

import asyncio

import pytest

from app.core.errors import DatabaseBusy
from app.db import gate as gates
from app.db.gate import Gate
from tests.waiting import within_patience


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_line_holds_no_more_than_its_share_and_others_find_places() -> None:
    gate = Gate(4, 2)
    for _ in range(2):
        await gate.enter("acme")
    third = asyncio.create_task(gate.enter("acme"))
    await turns()
    assert not third.done()
    for _ in range(2):
        await gate.enter("rival")
    gate.leave("rival")
    await turns()
    assert not third.done()
    gate.leave("acme")
    await third


async def test_lines_are_served_in_turn_and_each_in_order() -> None:
    gate = Gate(1, 1)
    await gate.enter("first")
    served: list[str] = []

    async def work(line: str, n: int) -> None:
        await gate.enter(line)
        served.append(f"{line}{n}")
        gate.leave(line)

    waiting = [asyncio.create_task(work("a", n)) for n in range(3)]
    await turns()
    waiting += [asyncio.create_task(work(line, 0)) for line in "bc"]
    await turns()
    gate.leave("first")
    await asyncio.gather(*waiting)
    assert served == ["a0", "b0", "c0", "a1", "a2"]


async def test_who_goes_away_leaves_the_line_and_loses_no_place() -> None:
    gate = Gate(1, 1)
    await gate.enter("a")
    gone = [asyncio.create_task(gate.enter("a")) for _ in range(3)]
    last = asyncio.create_task(gate.enter("a"))
    await turns()
    for task in gone[:2]:
        task.cancel()
    await turns()
    gate.leave("a")
    gone[2].cancel()  # as its place comes
    await asyncio.gather(*gone, return_exceptions=True)
    await within_patience(last, "the last one's turn")
    gate.leave("a")
    assert (gate._free, gate._held, gate._lines) == (1, {}, {})


async def test_who_waits_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "WAIT_SECONDS", 0.01)
    gate = Gate(1, 1)
    await gate.enter("a")
    with pytest.raises(DatabaseBusy):
        await gate.enter("b")
    gate.leave("a")
    await gate.enter("b")


async def test_cancels_at_any_moment_leave_all_places_free() -> None:
    gate = Gate(3, 2)

    async def work(line: str) -> None:
        await gate.enter(line)
        try:
            await turns(3)
        finally:
            gate.leave(line)

    tasks = [asyncio.create_task(work(f"line {n % 5}")) for n in range(200)]
    for n, task in enumerate(tasks):
        if n % 3:
            await turns(1)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (gate._free, gate._held, gate._lines) == (3, {}, {})
