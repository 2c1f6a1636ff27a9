"""Background loops: each is watched, started again when it dies, and its state can be asked for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from app.core.errors import DatabaseUnavailable
from app.observability.instruments import LOOP_DEATHS

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
# A loop that has run for so long since it died is well again.
STEADY_SECONDS = 60.0
# So many deaths, with no such time between them, are no accident.
DEATHS_TO_FAIL = 5
# So many turns in a row whose work failed: it does not get better by itself.
TURNS_TO_FAIL = 5

State = Literal["running", "restarting", "failing"]
logger = structlog.get_logger()


class Turns:
    """Of a loop that looks for work again and again: what fails is logged, and the next turn tries it anew."""

    def __init__(self, work: str) -> None:
        self._skipped, self._failed = f"{work}_skipped", f"{work}_failed"
        self.failed = 0
        """In a row. A database that is away says nothing about the work."""

    async def take(self, turn: Awaitable[object]) -> None:
        try:
            await turn
        except DatabaseUnavailable:
            logger.warning(self._skipped, reason="database unavailable")
        except Exception:
            self.failed += 1
            logger.exception(self._failed, turns=self.failed)
        else:
            self.failed = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """`run` goes on until it is cancelled. It handles the failures that it expects; dying is for those it does not."""

    name: str
    run: Callable[[], Awaitable[None]]
    turns: Turns | None = None
    """Those that `run` takes, where it does."""


@dataclass(slots=True)
class _Watched:
    loop: Loop
    deaths: int = 0
    running_since: float | None = None
    """In seconds of the clock; None: it is not running."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Runs the loops of a process. `clock` and `sleep` are in seconds."""

    def __init__(
        self,
        loops: Sequence[Loop],
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._watched = [_Watched(loop) for loop in loops]
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._sleep = sleep
        for loop in loops:
            LOOP_DEATHS.add(loop.name, amount=0)

    def start(self) -> None:
        for watched in self._watched:
            watched.task = asyncio.create_task(self._watch(watched), name=watched.loop.name)

    async def stop(self) -> None:
        """Cancel the loops one by one, the last started first."""
        for watched in reversed(self._watched):
            if watched.task is not None:
                watched.task.cancel()
                await asyncio.wait([watched.task])

    def states(self) -> dict[str, State]:
        """Of each loop by its name.

        `restarting`: it died, and was not steady since. `failing`: it keeps dying, or turn after turn fails.
        """
        return {watched.loop.name: self._state(watched) for watched in self._watched}

    def dying(self) -> list[str]:
        """The loops that keep dying. One whose turns fail is not among them: it runs, and what it met, all would."""
        return [
            watched.loop.name
            for watched in self._watched
            if watched.deaths >= DEATHS_TO_FAIL and not self._is_steady(watched)
        ]

    def _state(self, watched: _Watched) -> State:
        if watched.loop.turns is not None and watched.loop.turns.failed >= TURNS_TO_FAIL:
            return "failing"
        if not watched.deaths or self._is_steady(watched):
            return "running"
        return "restarting" if watched.deaths < DEATHS_TO_FAIL else "failing"

    def _is_steady(self, watched: _Watched) -> bool:
        return watched.running_since is not None and self._clock() - watched.running_since >= STEADY_SECONDS

    async def _watch(self, watched: _Watched) -> None:
        while True:
            watched.running_since = self._clock()
            error = await _death_of(watched.loop)
            watched.deaths = 1 if self._is_steady(watched) else watched.deaths + 1
            watched.running_since = None
            # The exponent is bounded: a float cannot hold what a loop that has died for months would ask for.
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(watched.deaths - 1, 10), LONGEST_PAUSE_SECONDS)
            LOOP_DEATHS.add(watched.loop.name)
            logger.error("loop_died", loop=watched.loop.name, deaths=watched.deaths, pause=pause, exc_info=error)
            await self._sleep(pause)


async def _death_of(loop: Loop) -> BaseException | None:
    """What ended the loop; None if it returned. A cancellation that was meant for the watcher goes on."""
    try:
        await loop.run()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # of something that it awaited
    except Exception as error:  # noqa: BLE001 - whatever it is, the loop is started again
        return error
    return None
