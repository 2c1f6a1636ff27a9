"""What a call may cost and did, whoever was asked on its way; and which model a caller gets."""

import pytest
from structlog.testing import capture_logs

from app.core.completion import Completion
from app.core.errors import ModelNotFound, ProviderTimeout, UnsupportedByModel
from app.core.items import Image, Message, Options, Text, Tool
from app.core.settings.models import Price
from app.llm.base import Attempt, Call
from app.llm.catalogue import Catalogue, Model, Upstream
from app.llm.known_prices import Found
from app.llm.needs import fitted, require, room
from app.llm.policy import ModelPolicy, usable
from app.llm.pricing import PriceTable, most, most_input_tokens
from app.services.llm_service import Charge, LLMService
from tests.llm.scripted import ANSWER, Scripted

HI = [Message("user", "Hi")]
CHEAP, DEAR = Price(input=1_000_000, output=2_000_000), Price(input=10_000_000, output=20_000_000)


def upstream(label: str, price: Price | None) -> Upstream:
    return Upstream(label, "mock", f"m-{label}", price=Found(price, "LLM_PRICES", label) if price else None)


def service(*models: Model) -> LLMService:
    return LLMService(Scripted(ANSWER), Catalogue(models), PriceTable({}))


def chain(*prices: Price | None) -> LLMService:
    """A model whose upstreams have these prices."""
    places = tuple(upstream(f"a/{n}", price) for n, price in enumerate(prices, 1))
    return service(Model("a", places, 10))


def call(*attempts: Attempt, **fields: object) -> Call:
    return Call(HI, attempts=list(attempts), **fields)  # type: ignore[arg-type]


def test_two_may_charge_so_the_two_dearest_are_set_aside() -> None:
    read = most_input_tokens(HI)
    cheap, dear = most(CHEAP, read, 10), most(DEAR, read, 10)
    assert chain(CHEAP).most_cost(call()) == cheap
    assert chain(CHEAP, DEAR).most_cost(call()) == cheap + dear
    assert chain(CHEAP, CHEAP, DEAR).most_cost(call()) == cheap + dear
    assert chain(CHEAP, None).most_cost(call()) is None


def test_a_fallback_that_may_not_answer_is_not_set_aside_for() -> None:
    llm = service(
        Model("a", (upstream("a", CHEAP),), 10, fallbacks=("b",)),
        Model("b", (upstream("b", DEAR),), 10, capabilities=frozenset()),
    )
    alone = most(CHEAP, most_input_tokens(HI), 10)
    assert llm.most_cost(call()) == alone + most(DEAR, most_input_tokens(HI), 10)
    assert llm.most_cost(call(allowed=frozenset(("a",)))) == alone
    with_tools = Options(tools=(Tool("look"),))
    assert llm.most_cost(call(options=with_tools)) == most(CHEAP, most_input_tokens(HI, with_tools), 10)


def test_the_bound_of_an_answer_is_the_callers_within_the_models() -> None:
    read = most_input_tokens(HI)
    assert chain(CHEAP).most_cost(call(options=Options(max_output_tokens=4))) == most(CHEAP, read, 4)
    assert chain(CHEAP).most_cost(call(options=Options(max_output_tokens=4000))) == most(CHEAP, read, 10)


def test_what_failed_at_a_price_is_part_of_what_a_call_cost() -> None:
    llm, filtered = chain(CHEAP, DEAR), Completion("", "m", 3, 5)
    asked = call(Attempt("a/1", filtered), Attempt("a/2"))
    charge = llm.charge(Completion("x", "a", 2, 1), asked)
    assert charge == Charge(
        13 + 40, {"model": "m-a/2", "source": "LLM_PRICES", "input": 10_000_000, "output": 20_000_000}, 8 + 3
    )
    silent = call(Attempt("a/1", accepted=True), Attempt("a/2"))
    unknown = llm.charge(Completion("x", "a", 2, 1), silent)
    assert (unknown.micro_usd, unknown.tokens) == (most(CHEAP, most_input_tokens(HI), 10) + 40, None)
    assert llm.charge(Completion("x", "a", 2, 1), call(Attempt("a/1"), Attempt("a/2"))).micro_usd == 40


def test_a_call_that_failed_costs_what_was_charged_for_it() -> None:
    llm, filtered = chain(CHEAP, DEAR), Completion("", "m", 3, 5)
    assert llm.spent(call(Attempt("a/1"), Attempt("a/2"))) == Charge(None, tokens=0)
    assert llm.spent(call(Attempt("a/1", filtered), Attempt("a/2")), filtered).micro_usd == 13
    both = call(Attempt("a/1", filtered), Attempt("a/2", filtered))
    assert llm.spent(both, filtered).micro_usd == 13 + 130
    # It came, and was refused here.
    assert llm.spent(call(Attempt("a/1")), filtered).micro_usd == 13


def test_what_was_stopped_unseen_costs_what_was_set_aside_for_who_was_at_work() -> None:
    llm, read = chain(CHEAP, DEAR), most_input_tokens(HI)
    assert llm.unseen(call(Attempt("a/1"), Attempt("a/2"))).micro_usd == most(DEAR, read, 10)
    assert llm.unseen(call(Attempt("a/1", accepted=True), Attempt("a/2"))).micro_usd == llm.most_cost(call())


async def test_a_provider_that_notes_nothing_is_noted_for() -> None:
    error = ProviderTimeout()
    error.accepted = True
    llm = LLMService(Scripted(error), Catalogue([Model("a", (upstream("a", CHEAP),), 10)]), PriceTable({}))
    asked = call()
    with pytest.raises(ProviderTimeout):
        await llm.complete(asked)
    assert llm.spent(asked).micro_usd == llm.most_cost(call())


def test_images_and_tools_and_schemas_are_set_aside_for() -> None:
    picture = [Message("user", (Text("Hi"), Image("image/png", "x" * 4000)))]
    assert most_input_tokens(picture, image_tokens=900) == most_input_tokens(HI) + 900
    tool = Tool("look", "Looks.", {"type": "object", "title": "x" * 500})
    assert most_input_tokens(HI, Options(tools=(tool,))) > most_input_tokens(HI) + 500


PLAIN = Model("plain", (upstream("plain", None),), 100, 1000, capabilities=frozenset())
ABLE = Model("able", (upstream("able", None),), 100)


def test_options_are_fitted_to_the_model() -> None:
    asked = Options(max_output_tokens=500, temperature=1, top_p=1, frequency_penalty=1, presence_penalty=1, seed=1)
    assert fitted(PLAIN, asked) == Options(max_output_tokens=100)
    assert fitted(PLAIN, Options(max_output_tokens=7)) == fitted(PLAIN, Options(max_output_tokens=7, seed=0))
    assert fitted(ABLE, asked) == Options(100, 1, 1, seed=1, frequency_penalty=1, presence_penalty=1)


def test_what_is_too_long_beyond_doubt_is_refused_and_a_conversation_is_cut() -> None:
    require(PLAIN, [Message("user", "x" * 5200)], Options())
    with pytest.raises(UnsupportedByModel):
        require(PLAIN, [Message("user", "x" * 5400)], Options())
    require(PLAIN, HI, Options(reasoning_effort="none"))
    assert (room(PLAIN, 8000), room(PLAIN, 500), room(ABLE, 8000)) == (900, 500, 8000)


HIDDEN = Model("hidden", (upstream("hidden", None),), 100, listed=False)


@pytest.mark.parametrize(
    ("name", "policy", "of_key", "chosen"),
    [
        ("", ModelPolicy(), None, "able"),
        ("", ModelPolicy(default="plain"), None, "plain"),
        ("", ModelPolicy(frozenset(("plain",))), None, "plain"),
        ("", ModelPolicy(frozenset(("plain",)), "able"), None, "plain"),
        ("", ModelPolicy(default="gone"), None, "able"),
        ("", ModelPolicy(), frozenset(("plain",)), "plain"),
        ("", ModelPolicy(frozenset()), None, None),
        ("", ModelPolicy(frozenset(("able",))), frozenset(("plain",)), None),
        ("plain", ModelPolicy(), None, "plain"),
        ("plain", ModelPolicy(frozenset(("able",))), None, None),
        ("plain", ModelPolicy(), frozenset(("able",)), None),
        ("hidden", ModelPolicy(), None, None),
        ("hidden", ModelPolicy(frozenset(("hidden",))), None, None),
        ("gone", ModelPolicy(), None, None),
    ],
)
def test_a_caller_gets_what_its_tenant_and_its_key_allow(
    name: str, policy: ModelPolicy, of_key: frozenset[str] | None, chosen: str | None
) -> None:
    llm = service(ABLE, PLAIN, HIDDEN)
    if chosen is None:
        with pytest.raises(ModelNotFound):
            llm.model_for(name, policy, of_key)
    else:
        assert llm.model_for(name, policy, of_key).name == chosen
        assert chosen in [model.name for model in usable(llm.catalogue, policy, of_key)]


def test_the_start_tells_by_which_price_each_is_charged() -> None:
    with capture_logs() as logs:
        chain(CHEAP, None).tell()
    assert [(line["model"], line["price_source"], line["matched"]) for line in logs] == [
        ("a/1", "LLM_PRICES", "a/1"), ("a/2", None, None),
    ]  # fmt: skip


def test_tokens_are_known_of_a_model_without_a_price_too() -> None:
    llm = chain(None, DEAR)
    assert llm.charge(Completion("x", "a", 2, 1), call(Attempt("a/1"))) == Charge(None, tokens=3)
    assert llm.unseen(call(Attempt("a/1"))).tokens is None
    assert llm.estimate(call(options=Options(max_output_tokens=4))) == 1 + 4
    assert llm.estimate(call()) == 1 + 10
