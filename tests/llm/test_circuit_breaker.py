"""The circuit breaker, against a clock that only the test moves."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.core.errors import EmptyAnswer, ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.llm.base import Call
from app.llm.circuit_breaker import CircuitBreaker
from tests.llm.scripted import ANSWER, TURNS, Heard, Script, Scripted, says, silence


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def broken() -> ProviderError:
    """As a status of 500 is."""
    error = ProviderError()
    error.unhealthy = True
    return error


def limited() -> ProviderError:
    """As a status of 429 is."""
    error = ProviderUnavailable()
    error.unhealthy = False
    return error


def breaker(*scripts: Script | Exception, failures: int = 2) -> tuple[CircuitBreaker, Scripted, Clock]:
    provider, clock = Scripted(*scripts, ANSWER), Clock()
    return CircuitBreaker(provider, failures, 30, clock), provider, clock


async def fail(provider: CircuitBreaker, times: int = 1, tenant: str = "") -> ProviderError:
    for _ in range(times):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Call(TURNS, tenant_id=tenant))
    return caught.value


@pytest.mark.parametrize("error", [ProviderUnavailable(), ProviderTimeout(), broken()])
async def test_after_so_many_failures_it_refuses_at_once_and_says_for_how_long(error: Exception) -> None:
    circuit, provider, clock = breaker(error, error)
    for _ in range(2):
        with pytest.raises(type(error)):
            await circuit.complete(Call(TURNS))
    clock.now += 10
    refusal = await fail(circuit)
    assert type(refusal) is ProviderUnavailable
    assert refusal.retry_after == 20
    assert provider.calls == 2


async def test_failures_count_only_in_a_row() -> None:
    circuit, provider, _ = breaker(ProviderUnavailable(), says("Hi"), ProviderUnavailable(), says("Hi"))
    for _ in range(2):
        await fail(circuit)
        await circuit.complete(Call(TURNS))
    assert provider.calls == 4


@pytest.mark.parametrize("error", [ProviderRejected(), ProviderError(), EmptyAnswer(), limited()])
async def test_what_a_prompt_or_a_key_brings_about_is_no_failure(error: ProviderError) -> None:
    circuit, provider, _ = breaker(*[error] * 5)
    await fail(circuit, 5)
    assert (await circuit.complete(Call(TURNS))) == ANSWER
    assert provider.calls == 6


async def test_one_tenant_closes_the_provider_to_itself_alone() -> None:
    circuit, provider, clock = breaker(*[ProviderUnavailable()] * 10, failures=5)
    await fail(circuit, 5, "one")
    assert (await fail(circuit, tenant="one")).retry_after == 30
    assert provider.calls == 5
    await fail(circuit, tenant="two")
    assert provider.calls == 6
    clock.now += 30
    await fail(circuit, tenant="one")
    assert provider.calls == 7


async def test_failures_of_two_tenants_close_it_to_all() -> None:
    circuit, provider, _ = breaker(*[ProviderUnavailable()] * 10, failures=5)
    for tenant, times in (("one", 4), ("two", 2)):
        await fail(circuit, times, tenant)
    with capture_logs() as logs:
        assert (await fail(circuit, tenant="three")).retry_after == 30
    assert provider.calls == 6
    assert not logs


async def test_a_success_of_another_tenant_shows_that_it_works() -> None:
    circuit, _, _ = breaker(*[ProviderUnavailable()] * 4, says("Hi"), ProviderUnavailable(), failures=5)
    for tenant, times in (("one", 2), ("two", 2)):
        await fail(circuit, times, tenant)
    await circuit.complete(Call(TURNS, tenant_id="three"))
    await fail(circuit, tenant="three")
    assert await circuit.complete(Call(TURNS, tenant_id="three")) == ANSWER


async def test_the_failures_of_many_tenants_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.llm.circuit_breaker.MAX_TENANTS", 3)
    circuit, _, _ = breaker(*[ProviderUnavailable()] * 9, failures=50)
    for tenant in "abcdefgh":
        await fail(circuit, tenant=tenant)
    assert list(circuit._own) == ["f", "g", "h"]


async def test_a_cancelled_call_is_no_failure() -> None:
    circuit, _, _ = breaker(silence, failures=1)
    await cancelled(circuit)
    assert (await circuit.complete(Call(TURNS))) == ANSWER


async def cancelled(circuit: CircuitBreaker) -> None:
    task = asyncio.create_task(circuit.complete(Call(TURNS)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_then_one_trial_is_let_through_and_its_success_closes() -> None:
    go_on = asyncio.Event()

    async def trial(_: object) -> object:
        await go_on.wait()
        return ANSWER

    circuit, provider, clock = breaker(ProviderUnavailable(), ProviderUnavailable(), trial)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await fail(circuit, 2)
        clock.now += 30
        task = asyncio.create_task(circuit.complete(Call(TURNS)))
        await asyncio.sleep(0)
        assert (await fail(circuit)).retry_after == 1
        go_on.set()
        assert await task == ANSWER
    assert await circuit.complete(Call(TURNS)) == ANSWER
    assert provider.calls == 4
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("provider_circuit_opened", "warning"),
        ("provider_circuit_closed", "info"),
    ]


async def test_a_failed_trial_opens_it_again() -> None:
    circuit, provider, clock = breaker(*[ProviderUnavailable()] * 3)
    await fail(circuit, 2)
    clock.now += 30
    await fail(circuit)
    clock.now += 29
    assert (await fail(circuit)).retry_after == 1
    assert provider.calls == 3
    clock.now += 1
    assert await circuit.complete(Call(TURNS)) == ANSWER


async def test_a_rejected_trial_closes_it() -> None:
    circuit, _, clock = breaker(ProviderUnavailable(), ProviderUnavailable(), ProviderRejected())
    await fail(circuit, 2)
    clock.now += 30
    assert type(await fail(circuit)) is ProviderRejected
    assert await circuit.complete(Call(TURNS)) == ANSWER


async def test_a_cancelled_trial_makes_room_for_the_next() -> None:
    circuit, _, clock = breaker(ProviderUnavailable(), ProviderUnavailable(), silence)
    await fail(circuit, 2)
    clock.now += 30
    await cancelled(circuit)
    assert await circuit.complete(Call(TURNS)) == ANSWER


async def test_what_began_before_it_opened_neither_closes_nor_prolongs_it() -> None:
    go_on = asyncio.Event()

    async def late(_: object) -> object:
        await go_on.wait()
        return ANSWER

    async def late_failure(_: object) -> object:
        await go_on.wait()
        raise ProviderUnavailable

    circuit, _, clock = breaker(late, late_failure, ProviderUnavailable(), ProviderUnavailable())  # type: ignore[arg-type]
    tasks = [asyncio.create_task(circuit.complete(Call(TURNS))) for _ in range(2)]
    await asyncio.sleep(0)
    await fail(circuit, 2)
    clock.now += 10
    go_on.set()
    await asyncio.wait(tasks)
    assert tasks[0].result() == ANSWER
    assert isinstance(tasks[1].exception(), ProviderError)
    assert (await fail(circuit)).retry_after == 20


async def test_with_no_failures_allowed_for_it_is_switched_off() -> None:
    circuit, provider, _ = breaker(*[ProviderUnavailable()] * 50, failures=0)
    await fail(circuit, 50)
    assert await circuit.complete(Call(TURNS)) == ANSWER
    assert provider.calls == 51


async def test_it_hands_everything_on() -> None:
    circuit, provider, _ = breaker(says("a", "b"))
    heard = Heard()
    assert (await circuit.complete(Call(TURNS, heard.hear))).text == "ab"
    assert heard == ["a", "b"]
    assert (circuit.name, circuit.models) == (provider.name, provider.models)
    await circuit.close()
    assert provider.closed
