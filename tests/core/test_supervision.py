"""Background loops that die are started again, and whoever asks hears of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from app.core import supervision
from app.core.errors import DatabaseUnavailable
from app.core.supervision import DEATHS_TO_FAIL, STEADY_SECONDS, TURNS_TO_FAIL, Loop, Supervisor, Turns


class Stage:
    """A loop that lives until it is told to die, under a clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.began: asyncio.Queue[None] = asyncio.Queue()
        self.asked_to_pause: asyncio.Queue[None] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        self.fate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.other_ended = False
        self.supervisor = Supervisor([Loop("frail", self.frail), Loop("other", self.other)], self.clock, self.pause)

    def clock(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.asked_to_pause.put_nowait(None)
        await self.go_on.acquire()

    async def frail(self) -> None:
        self.fate = asyncio.get_running_loop().create_future()
        self.began.put_nowait(None)
        await self.fate

    async def other(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.other_ended = True

    async def die(self, error: BaseException | None = None) -> None:
        """Once it runs; returns when the supervisor has noticed."""
        await self.began.get()
        if error is None:
            self.fate.set_result(None)
        else:
            self.fate.set_exception(error)
        await self.asked_to_pause.get()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    stage.supervisor.start()
    yield stage
    await stage.supervisor.stop()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> structlog.testing.CapturingLogger:
    log = structlog.testing.CapturingLogger()
    monkeypatch.setattr(supervision, "logger", log)
    return log


async def test_a_loop_that_dies_is_logged_and_started_again_and_the_others_run_on(
    stage: Stage, log: structlog.testing.CapturingLogger
) -> None:
    assert stage.supervisor.states() == {"frail": "running", "other": "running"}
    error = RuntimeError("unforeseen")
    await stage.die(error)
    assert stage.supervisor.states() == {"frail": "restarting", "other": "running"}
    (call,) = log.calls
    assert (call.method_name, call.args, call.kwargs["loop"]) == ("error", ("loop_died",), "frail")
    assert call.kwargs["exc_info"] is error

    stage.go_on.release()
    await stage.began.get()
    assert stage.supervisor.states()["frail"] == "restarting"
    stage.now += STEADY_SECONDS
    assert stage.supervisor.states() == {"frail": "running", "other": "running"}
    assert not stage.other_ended


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()], ids=["returns", "meets a cancelled future"])
async def test_a_loop_that_ends_in_any_other_way_is_started_again_too(stage: Stage, error: BaseException) -> None:
    await stage.die(error)
    stage.go_on.release()
    await stage.began.get()


async def test_a_loop_that_keeps_dying_is_failing_and_pauses_longer_and_longer(stage: Stage) -> None:
    for _ in range(DEATHS_TO_FAIL):
        assert stage.supervisor.dying() == []
        await stage.die(RuntimeError())
        stage.go_on.release()
    assert stage.supervisor.dying() == ["frail"]
    assert stage.pauses == [1, 2, 4, 8, 16]

    await stage.die(RuntimeError())
    assert stage.pauses[-1] == supervision.LONGEST_PAUSE_SECONDS
    stage.go_on.release()
    await stage.began.get()
    stage.began.put_nowait(None)
    stage.now += STEADY_SECONDS
    assert stage.supervisor.dying() == []
    await stage.die(RuntimeError())
    assert stage.supervisor.states()["frail"] == "restarting"
    assert stage.pauses[-1] == 1


async def test_stopping_cancels_what_runs_and_what_waits_for_its_restart() -> None:
    stage = Stage()
    stage.supervisor.start()
    await stage.die(RuntimeError())
    await stage.supervisor.stop()
    assert stage.other_ended


async def test_a_loop_whose_turns_fail_one_after_the_other_is_failing_and_goes_on(
    log: structlog.testing.CapturingLogger,
) -> None:
    async def work(error: Exception | None = None) -> None:
        if error:
            raise error

    turns = Turns("sweep")
    supervisor = Supervisor([Loop("sweep", work, turns)])
    for _ in range(TURNS_TO_FAIL):
        assert supervisor.states() == {"sweep": "running"}
        await turns.take(work(RuntimeError()))
        await turns.take(work(DatabaseUnavailable()))  # neither a failure of the work nor a success
    assert supervisor.states() == {"sweep": "failing"}
    assert supervisor.dying() == [], "what it met, every process would meet"
    assert {call.args for call in log.calls} == {("sweep_failed",), ("sweep_skipped",)}
    await turns.take(work())
    assert supervisor.states() == {"sweep": "running"}
