"""Places that are given out in turn, whoever asks most."""

import asyncio
from collections.abc import Awaitable

import pytest

from app.core.errors import Overloaded
from app.core.turns import Turns


class Crowd:
    """Tasks that want a place, and the order in which they got one."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str) -> None:
        """`a1` stands in the line of `a`; returns when all stand there."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._wait(name))
        for _ in range(3):
            await asyncio.sleep(0)

    async def _wait(self, name: str) -> None:
        await self.turns.take(name[0])
        self.served.append(name)

    async def serve(self, count: int) -> list[str]:
        for _ in range(count):
            self.turns.give_back()
            for _ in range(3):
                await asyncio.sleep(0)
        return self.served


async def test_a_free_place_is_had_at_once() -> None:
    turns = Turns(2, 0)
    await turns.take("a")
    await turns.take("a")
    with pytest.raises((Overloaded, ValueError)):
        await turns.take("a")


async def test_lines_are_served_in_turn_and_within_a_line_the_first_comes_first() -> None:
    crowd = Crowd(Turns(1, 100))
    await crowd.join("a0", "a1", "a2", "a3", "b1", "a4", "b2", "c1")
    assert await crowd.serve(7) == ["a0", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    crowd.turns.give_back()
    await crowd.join("d1")
    assert crowd.served[-1] == "d1", "all places are free again"


async def test_when_all_is_full_the_longest_line_gives_way_to_a_shorter_one() -> None:
    crowd = Crowd(Turns(1, 4))
    await crowd.join("a0", "a1", "a2", "a3", "a4")
    await crowd.join("b1")
    assert await refused(crowd.tasks["a4"]), "the last of the longest"
    await crowd.join("a5")
    assert await refused(crowd.tasks["a5"]), "who stands in the longest is refused itself"
    await crowd.join("b2")
    assert await refused(crowd.tasks["a3"])
    await crowd.join("c1")
    assert await refused(crowd.tasks["a2"]) or await refused(crowd.tasks["b2"])
    assert crowd.served == ["a0"]


async def test_who_is_gone_is_passed_over_and_its_place_is_not_lost() -> None:
    crowd = Crowd(Turns(1, 100))
    await crowd.join("a0", "a1", "b1", "a2")
    crowd.tasks["a1"].cancel()
    await asyncio.wait([crowd.tasks["a1"]])
    assert await crowd.serve(1) == ["a0", "a2"] or crowd.served == ["a0", "b1"]
    await crowd.serve(1)
    assert sorted(crowd.served) == ["a0", "a2", "b1"]

    await crowd.join("c1")
    crowd.turns.give_back()  # at the same moment as
    crowd.tasks["c1"].cancel()
    await asyncio.wait([crowd.tasks["c1"]])
    await crowd.join("d1")
    assert crowd.served[-1] == "d1"


async def refused(task: Awaitable[None]) -> bool:
    done, _ = await asyncio.wait([asyncio.ensure_future(task)], timeout=0)
    return bool(done) and isinstance(next(iter(done)).exception(), Overloaded)
