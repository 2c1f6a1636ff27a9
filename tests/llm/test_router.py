"""Models by their public names, over several servers on loopback."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.config import Settings
from app.core.errors import EmptyAnswer, ProviderRejected, ProviderUnavailable
from app.core.items import Delta, Options, TextDelta, Tool
from app.llm.base import Call, Credential
from app.llm.factory import create_provider
from app.llm.router import Credentials, Router, Turns
from tests.llm.loopback import Answer, Loopback, completion, loopback, problem
from tests.llm.scripted import TURNS

Says = Callable[[dict[str, Any]], Answer]


def entry(server: Loopback, **fields: Any) -> dict[str, Any]:
    return {"provider": "openai", "base_url": server.base_url, "api_key": "none", **fields}


@asynccontextmanager
async def servers(*says: Says) -> AsyncIterator[list[Loopback]]:
    """One for each."""

    def handler(say: Says) -> Any:
        async def answer(body: dict[str, Any]) -> Answer:
            return say(body)

        return answer

    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(loopback(handler(say))) for say in says]


@asynccontextmanager
async def routing(
    models: dict[str, Any], credentials: Credentials | None = None, **values: Any
) -> AsyncIterator[Router]:
    settings = Settings(_env_file=None, llm_models=json.dumps(models), llm_max_retries=0, **values)
    router = create_provider(settings, credentials)
    try:
        yield router
    finally:
        await router.close()


def says(text: str) -> Says:
    return lambda _: completion(text)


def fails(_: dict[str, Any]) -> Answer:
    return problem(500)


def refuses(_: dict[str, Any]) -> Answer:
    return problem(401)


async def test_each_public_name_is_asked_at_its_own_server_and_answers_under_it() -> None:
    async with servers(says("from one"), says("from two")) as (one, two):
        models = {"first": entry(one, model="tiny-a", api_key="key-a"), "second": entry(two, api_key="key-b")}
        async with routing(models) as router:
            answers = [await router.complete(Call(TURNS, model=name)) for name in ("first", "second", "")]
    assert [(answer.text, answer.model) for answer in answers] == [
        ("from one", "first"), ("from two", "second"), ("from one", "first"),
    ]  # fmt: skip
    assert [(headers["authorization"], body["model"]) for headers, body in one.requests] == [
        ("Bearer key-a", "tiny-a"), ("Bearer key-a", "tiny-a"),
    ]  # fmt: skip
    assert [(headers["authorization"], body["model"]) for headers, body in two.requests] == [("Bearer key-b", "second")]


async def test_upstreams_of_one_name_take_turns_by_their_weights() -> None:
    async with servers(says("a"), says("b")) as (a, b):
        models = {"own": {"upstreams": [entry(a, weight=3), entry(b)]}}
        async with routing(models) as router:
            texts = [(await router.complete(Call(TURNS))).text for _ in range(8)]
    assert "".join(texts) == "aabaaaba"


@pytest.mark.parametrize("weights", [[1], [5, 1, 1], [2, 3], [1000, 1]])
def test_over_a_round_each_has_its_weight_and_nobody_is_left_out(weights: list[int]) -> None:
    turns = Turns(weights)
    orders = [turns.next() for _ in range(sum(weights) * 2)]
    assert Counter(order[0] for order in orders) == {index: 2 * weight for index, weight in enumerate(weights)}
    assert all(sorted(order) == list(range(len(weights))) for order in orders)


async def test_the_others_of_a_name_and_then_its_fallbacks_answer_where_one_fails() -> None:
    async with servers(fails, says("other"), says("stand-in")) as (broken, other, stand_in):
        models = {
            "own": {"upstreams": [entry(broken, weight=9), entry(other)], "fallbacks": ["spare"]},
            "lost": entry(broken, fallbacks=["spare"]),
            "spare": entry(stand_in),
        }
        async with routing(models) as router:
            own, lost = Call(TURNS, model="own"), Call(TURNS, model="lost")
            assert (await router.complete(own)).text == "other"
            answer = await router.complete(lost)
    assert (answer.text, answer.model) == ("stand-in", "spare")
    assert [attempt.upstream for attempt in own.attempts] == ["own/1", "own/2"]
    assert [attempt.upstream for attempt in lost.attempts] == ["lost", "spare"]


async def test_a_fallback_that_may_not_be_used_or_cannot_do_it_is_passed_over() -> None:
    async with servers(fails, says("plain"), says("able")) as (broken, plain, able):
        models = {
            "own": entry(broken, fallbacks=["plain", "able"]),
            "plain": entry(plain, capabilities=[]),
            "able": entry(able),
        }
        async with routing(models) as router:
            assert (await router.complete(Call(TURNS))).text == "plain"
            tools = Options(tools=(Tool("look"),))
            assert (await router.complete(Call(TURNS, options=tools))).text == "able"
            assert (await router.complete(Call(TURNS, allowed=frozenset(("own", "able"))))).text == "able"
            with pytest.raises(Exception, match=r".") as refused:
                await router.complete(Call(TURNS, allowed=frozenset(("own",))))
    assert refused.value.code == "provider_error"  # type: ignore[attr-defined]


async def test_no_other_answers_once_a_piece_was_handed_on() -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\n'

    async with servers(lambda _: (200, {}, half()), says("spare")) as (cut, spare):
        models = {"own": entry(cut, fallbacks=["spare"]), "spare": entry(spare)}
        heard: list[Delta] = []
        async with routing(models) as router:
            with pytest.raises(Exception, match=r"."):
                await router.complete(Call(TURNS, heard.append))
    assert heard == [TextDelta("Once")]
    assert spare.requests == []


async def test_each_upstream_has_a_breaker_of_its_own() -> None:
    async with servers(fails, says("well")) as (broken, well):
        models = {"broken": entry(broken), "well": entry(well)}
        async with routing(models, llm_breaker_failures=2) as router:
            for tenant in ("one", "two"):
                with pytest.raises(Exception, match=r"."):
                    await router.complete(Call(TURNS, tenant_id=tenant, model="broken"))
            with pytest.raises(ProviderUnavailable):
                await router.complete(Call(TURNS, tenant_id="three", model="broken"))
            assert (await router.complete(Call(TURNS, tenant_id="three", model="well"))).text == "well"
    assert len(broken.requests) == 2


async def test_a_tenants_own_key_closes_nothing_for_others_and_is_theirs_alone() -> None:
    def answers(body: dict[str, Any]) -> Answer:
        return problem(500) if broken else completion("fine")

    broken, keys = True, dict.fromkeys(("one", "two", "three", "five"), "sk-own")

    async def own(tenant_id: str, account: str) -> Credential | None:
        return Credential(keys[tenant_id]) if account == "acme-cloud" and tenant_id in keys else None

    async with (
        servers(answers) as (server,),
        routing(
            {"own": entry(server, account="acme-cloud"), "other": entry(server)}, own, llm_breaker_failures=2
        ) as router,
    ):
        for tenant in ("one", "one", "two", "two", "three", "three"):
            with pytest.raises(Exception, match=r"."):
                await router.complete(Call(TURNS, tenant_id=tenant))
        with pytest.raises(ProviderUnavailable):
            await router.complete(Call(TURNS, tenant_id="one"))
        broken = False
        assert (await router.complete(Call(TURNS, tenant_id="four"))).text == "fine"
        assert (await router.complete(Call(TURNS, tenant_id="five"))).text == "fine"
        keys["one"] = "sk-renewed"
        assert (await router.complete(Call(TURNS, tenant_id="one"))).text == "fine"
        assert (await router.complete(Call(TURNS, tenant_id="one", model="other"))).text == "fine"
    sent = [headers["authorization"].removeprefix("Bearer ") for headers, _ in server.requests]
    assert sent == ["sk-own"] * 6 + ["none", "sk-own", "sk-renewed", "none"]


async def test_what_two_have_charged_for_is_not_asked_of_a_third() -> None:
    async with servers(says(""), says(""), says("third")) as (one, two, three):
        models = {"own": {"upstreams": [entry(one), entry(two)], "fallbacks": ["spare"]}, "spare": entry(three)}
        async with routing(models) as router:
            call = Call(TURNS)
            with pytest.raises(EmptyAnswer):
                await router.complete(call)
    assert [attempt.billed for attempt in call.attempts] == [True, True]
    assert three.requests == []


async def test_a_client_is_made_when_its_upstream_is_asked_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Noted:
        name, models = "openai", ("m",)

        def __init__(self, key: str, base_url: str, model: str, limits: object) -> None:
            made.append(model)

        async def complete(self, call: Call) -> None:
            raise ProviderRejected

        async def close(self) -> None: ...

    monkeypatch.setattr("app.llm.openai_compatible.OpenAICompatibleProvider", Noted)
    place = {"provider": "openai", "api_key": "none"}
    async with routing({f"model-{number}": place for number in range(50)}) as router:
        assert made == []
        for _ in range(2):
            with pytest.raises(ProviderRejected):
                await router.complete(Call(TURNS, model="model-7"))
    assert made == ["model-7"]


async def test_no_log_and_no_rendering_names_a_key() -> None:
    async def own(tenant_id: str, account: str) -> Credential:
        return Credential("sk-of-a-tenant")

    models = {"shared": {}, "own": {"account": "cloud"}}
    async with servers(refuses) as (server,):
        places = {name: entry(server, api_key="sk-very-secret", **fields) for name, fields in models.items()}
        async with routing(places, own) as router:
            for name in models:
                call = Call(TURNS, model=name)
                with capture_logs() as logs, pytest.raises(ProviderRejected) as refused:
                    await router.complete(call)
                shown = f"{logs} {refused.value!r} {call!r} {router.catalogue.upstreams} {router.catalogue.all}"
                assert "sk-" not in shown
    assert [headers["authorization"] for headers, _ in server.requests] == [
        "Bearer sk-very-secret", "Bearer sk-of-a-tenant",
    ]  # fmt: skip
