"""The deadline of a call and of its silences."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from app.llm.base import Call, Completion, OnEvent, event_of
from app.llm.deadline import Deadline
from tests import clock
from tests.llm.scripted import ANSWER, TURNS, Heard, Script, Scripted, says, silence

# Of the tests whose clock moves: no stall takes as long.
HOUR = 3600.0


async def pass_by(seconds: float) -> None:
    """The timers that are due go off, and what they end may end."""
    clock.move_on(seconds)
    for _ in range(10):
        await asyncio.sleep(0)


def deadline(
    script: Script | Exception | Completion, call: float = 60, token: float = 60, stream: float = 60
) -> Deadline:
    return Deadline(Scripted(script), call, token, stream)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_call_ends_after_its_seconds(streaming: bool) -> None:
    ended = asyncio.Event()

    async def script(on_event: OnEvent | None) -> Completion:
        try:
            return await silence(on_event)
        finally:
            ended.set()

    with pytest.raises(ProviderTimeout) as caught:
        await deadline(script, call=0.05).complete(Call(TURNS, (lambda _: None) if streaming else None))
    assert ended.is_set()
    assert caught.value.__cause__ is None


def test_a_stream_that_keeps_talking_ends_after_its_own_seconds() -> None:
    async def chatter(on_event: OnEvent | None) -> Completion:
        assert on_event is not None
        while True:
            on_event(event_of("x"))
            await pass_by(HOUR)

    heard = Heard()
    with pytest.raises(ProviderTimeout):
        clock.run(deadline(chatter, token=2 * HOUR, stream=2.5 * HOUR).complete(Call(TURNS, heard.hear)))
    assert heard == ["x"] * 3


async def test_silence_before_the_first_piece_ends_the_call() -> None:
    with pytest.raises(ProviderTimeout):
        await deadline(silence, token=0.05).complete(Call(TURNS, lambda _: None))


async def test_silence_between_two_pieces_ends_the_call() -> None:
    async def script(on_event: OnEvent | None) -> Completion:
        assert on_event is not None
        on_event(event_of("x"))
        return await silence(on_event)

    heard = Heard()
    with pytest.raises(ProviderTimeout):
        await deadline(script, token=0.05).complete(Call(TURNS, heard.hear))
    assert heard == ["x"]


def test_each_piece_begins_the_silence_anew() -> None:
    """Three times as long as one silence may be, in pieces that come in time."""

    async def script(on_event: OnEvent | None) -> Completion:
        assert on_event is not None
        for _ in range(6):
            on_event(event_of("x"))
            await pass_by(HOUR)
        return ANSWER

    assert clock.run(deadline(script, token=2 * HOUR, stream=24 * HOUR).complete(Call(TURNS, lambda _: None))) == ANSWER


@pytest.mark.parametrize("piece", ["x", ""], ids=["a text", "a thought"])
def test_what_flows_is_not_ended_by_the_bound_of_a_whole_call(piece: str) -> None:
    async def script(on_event: OnEvent | None) -> Completion:
        assert on_event is not None
        on_event(event_of(piece))
        await pass_by(2 * HOUR)
        return ANSWER

    flowing = deadline(script, call=HOUR, token=24 * HOUR, stream=24 * HOUR)
    assert clock.run(flowing.complete(Call(TURNS, lambda _: None))) == ANSWER


@pytest.mark.parametrize("error", [ProviderUnavailable(), ProviderTimeout(), None])
async def test_a_failure_in_the_middle_of_an_answer_says_nothing_about_the_provider(
    error: ProviderError | None,
) -> None:
    async def script(on_event: OnEvent | None) -> Completion:
        assert on_event is not None
        on_event(event_of(""))
        if error is None:
            return await silence(on_event)
        raise error

    with pytest.raises(ProviderError) as caught:
        await deadline(script, token=0.05).complete(Call(TURNS, lambda _: None))
    assert not caught.value.unhealthy


async def test_only_a_timeout_of_a_call_whose_text_nobody_saw_was_accepted() -> None:
    with pytest.raises(ProviderTimeout) as whole:
        await deadline(silence, call=0.05).complete(Call(TURNS))
    with pytest.raises(ProviderTimeout) as streamed:
        await deadline(silence, call=0.05).complete(Call(TURNS, lambda _: None))
    assert (whole.value.accepted, streamed.value.accepted) == (True, False)
    assert whole.value.unhealthy
    assert streamed.value.unhealthy


def test_without_streaming_only_the_whole_call_is_bounded() -> None:
    async def slow(_: OnEvent | None) -> Completion:
        await pass_by(2 * HOUR)
        return ANSWER

    assert clock.run(deadline(slow, call=24 * HOUR, token=HOUR, stream=HOUR).complete(Call(TURNS))) == ANSWER


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_cancellation_from_outside_stays_one(streaming: bool) -> None:
    task = asyncio.create_task(deadline(silence).complete(Call(TURNS, (lambda _: None) if streaming else None)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_timeout_of_the_adapters_own_is_a_provider_timeout() -> None:
    with pytest.raises(ProviderTimeout):
        await deadline(TimeoutError()).complete(Call(TURNS))


async def test_a_provider_error_passes_as_it_is() -> None:
    error = ProviderUnavailable()
    error.retry_after = 7
    with pytest.raises(ProviderUnavailable) as caught:
        await deadline(error).complete(Call(TURNS))
    assert caught.value is error


async def test_a_defect_of_an_adapter_is_a_provider_error_too() -> None:
    defect = KeyError("What is async Python?")
    with capture_logs() as logs, pytest.raises(ProviderError) as caught:
        await deadline(defect).complete(Call(TURNS))
    assert type(caught.value) is ProviderError
    assert "async" not in str(caught.value)
    assert caught.value.__cause__ is defect
    assert [(log["event"], log["provider"]) for log in logs] == [("provider_adapter_failed", "scripted")]


async def test_a_thousand_pieces_cost_no_timer_each(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers = 0
    call_at = loop.call_at

    def counting(*args: object, **options: object) -> object:
        nonlocal timers
        timers += 1
        return call_at(*args, **options)  # type: ignore[arg-type]

    heard = Heard()
    monkeypatch.setattr(loop, "call_at", counting)
    await deadline(says(*"x" * 1000)).complete(Call(TURNS, heard.hear))
    assert len(heard) == 1000
    assert timers == 3  # of the call, of the stream, and of the silence


async def test_it_hands_everything_on() -> None:
    provider = Scripted(says("a", "b"))
    bounded = Deadline(provider, 60, 60, 60)
    heard = Heard()
    assert (await bounded.complete(Call(TURNS, heard.hear))).text == "ab"
    assert heard == ["a", "b"]
    assert (bounded.name, bounded.models) == ("scripted", ("scripted-1",))
    await bounded.close()
    assert provider.closed
