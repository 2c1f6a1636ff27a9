"""The mock provider, whole and streamed."""

import asyncio
from itertools import pairwise

import pytest

from app.core.completion import FinishReason
from app.core.errors import ProviderUnavailable
from app.core.items import Message
from app.llm.base import Call, Completion
from app.llm.mock import MockProvider
from tests.llm.scripted import Heard

PROMPT = "  What\nis  async Python?\u2028 "
TURNS = [Message("system", "Be brief."), Message("user", PROMPT)]


async def test_it_repeats_the_prompt_and_counts_words() -> None:
    text = f"[mock] No language model is configured, so here is your prompt again: {PROMPT}"
    assert await MockProvider().complete(Call(TURNS)) == Completion(
        text, "mock-echo", 6, 16, finish_reason=FinishReason.STOP
    )


@pytest.mark.parametrize("latency", [0, 0.05])
async def test_streamed_it_says_the_same_word_by_word(latency: float) -> None:
    heard = Heard()
    answer = await MockProvider(latency).complete(Call(TURNS, heard.hear))
    assert answer == await MockProvider().complete(Call(TURNS))
    assert "".join(heard) == answer.text
    assert len(heard) == 16
    assert heard[:2] == ["[mock] ", "No "]


async def test_the_pieces_come_evenly_over_the_latency() -> None:
    loop = asyncio.get_running_loop()
    start, times = loop.time(), list[float]()
    await MockProvider(0.32).complete(Call(TURNS, lambda _: times.append(loop.time() - start)))
    assert all(at >= 0.02 * number - 0.005 for number, at in enumerate(times, 1))
    assert all(later > earlier for earlier, later in pairwise(times))


async def test_a_late_piece_does_not_delay_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []
    now = 0.0

    async def oversleep(seconds: float) -> None:
        nonlocal now
        asked.append(seconds)
        now += seconds + (0.5 if len(asked) == 1 else 0)

    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr("app.llm.mock.asyncio.sleep", oversleep)
    await MockProvider(16).complete(Call(TURNS, lambda _: None))
    assert asked[:3] == [1, 0.5, 1]
    assert now == 16


async def test_without_a_latency_others_get_their_turn() -> None:
    turns = [Message("user", "x " * 10_000)]
    task = asyncio.create_task(MockProvider().complete(Call(turns, lambda _: None)))
    passes = 0
    while not task.done():
        await asyncio.sleep(0)
        passes += 1
    assert passes > 100


async def test_every_so_many_th_call_fails_and_a_streamed_one_halfway() -> None:
    provider = MockProvider(fail_every=2)
    heard = Heard()
    await provider.complete(Call(TURNS))
    with pytest.raises(ProviderUnavailable):
        await provider.complete(Call(TURNS))
    await provider.complete(Call(TURNS, heard.hear))
    assert len(heard) == 16
    heard.clear()
    with pytest.raises(ProviderUnavailable):
        await provider.complete(Call(TURNS, heard.hear))
    assert len(heard) == 8


async def test_it_names_its_model() -> None:
    assert MockProvider().models == ("mock-echo",)
    assert MockProvider(model="tiny").models == ("tiny",)
