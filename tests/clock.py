"""An event loop whose clock a test moves on: what lasts seconds ends without them, and no stall ends it early."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class MovedLoop(asyncio.SelectorEventLoop):
    moved = 0.0
    """By so many seconds."""

    def time(self) -> float:
        return super().time() + self.moved


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own; in a test that is not async itself."""
    with asyncio.Runner(loop_factory=MovedLoop) as runner:
        return runner.run(main)


def move_on(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovedLoop)
    loop.moved += seconds
