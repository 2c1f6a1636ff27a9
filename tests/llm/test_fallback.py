"""The fallback chain."""

import pytest
from structlog.testing import capture_logs

from app.core.errors import ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from app.llm.base import Call
from app.llm.fallback import Fallback
from tests.llm.scripted import ANSWER, TURNS, Heard, Scripted, says


async def test_the_first_that_answers_answers() -> None:
    first, second = Scripted(ANSWER, name="first"), Scripted(ANSWER, name="second")
    chain = Fallback([first, second])
    assert await chain.complete(Call(TURNS)) == ANSWER
    assert (first.calls, second.calls) == (1, 0)


@pytest.mark.parametrize("error", [ProviderError(), ProviderRejected(), ProviderTimeout(), ProviderUnavailable()])
async def test_the_next_one_answers_where_one_fails(error: ProviderError) -> None:
    chain = Fallback([Scripted(error, name="first"), Scripted(says("a", "b"), name="second")])
    heard = Heard()
    with capture_logs() as logs:
        assert (await chain.complete(Call(TURNS, heard.hear))).text == "ab"
    assert heard == ["a", "b"]
    (log,) = logs
    assert log == {
        "event": "provider_failed_over",
        "log_level": "warning",
        "provider": "first",
        "model": "first-1",
        "code": error.code,
    }


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    error = ProviderUnavailable()
    second = Scripted(ANSWER, name="second")
    chain = Fallback([Scripted(says("a", then=error), name="first"), second])
    heard = Heard()
    with pytest.raises(ProviderUnavailable) as caught:
        await chain.complete(Call(TURNS, heard.hear))
    assert caught.value is error
    assert heard == ["a"]
    assert second.calls == 0


async def test_if_none_answers_the_error_is_the_first_ones() -> None:
    errors = [ProviderUnavailable(), ProviderRejected(), ProviderTimeout()]
    with pytest.raises(ProviderError) as caught:
        await Fallback([Scripted(error) for error in errors]).complete(Call(TURNS))
    assert caught.value is errors[0]


async def test_a_defect_is_not_covered_up() -> None:
    with pytest.raises(KeyError):
        await Fallback([Scripted(KeyError()), Scripted(ANSWER)]).complete(Call(TURNS))


async def test_it_has_the_name_of_the_first_and_the_models_of_all() -> None:
    providers = [Scripted(ANSWER, name="first"), Scripted(ANSWER, name="second")]
    chain = Fallback(providers)
    assert (chain.name, chain.models) == ("first", ("first-1", "second-1"))
    await chain.close()
    assert all(provider.closed for provider in providers)


def test_a_chain_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="provider"):
        Fallback([])
