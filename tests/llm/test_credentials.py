"""A tenant's own key and address take the place of the service's, for its own call alone."""

from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.errors import ProviderError, ProviderRejected, ProviderUnavailable
from app.core.items import Message
from app.llm.base import Call, CallLimits, Credential
from app.llm.openai_compatible import OpenAICompatibleProvider
from tests.llm.loopback import Answer, completion, loopback, problem
from tests.llm.wire import KEY, OPENAI, TURNS, WIRES, Wire, served

OWN_KEY = "sk-of-the-tenant"
HERE = (ip_network("127.0.0.0/8"),)
LIMITS = CallLimits(5, 5, 0, 100, networks=HERE)


@pytest.fixture(params=WIRES, ids=str)
def wire(request: pytest.FixtureRequest) -> Wire:
    return request.param


async def test_the_key_is_the_tenants_for_its_call_alone(wire: Wire) -> None:
    async with served(wire, lambda: (200, {}, wire.whole("Hi"))) as (provider, server):
        await provider.complete(Call(TURNS, credential=Credential(OWN_KEY)))
        await provider.complete(Call(TURNS))
    own, service = (headers.get("authorization") for headers, _ in server.requests)
    assert own == f"Bearer {OWN_KEY}"
    assert service == (None if wire.name == "ollama" else f"Bearer {KEY}")


async def test_the_address_is_the_tenants_and_the_services_key_is_not_sent_there(wire: Wire) -> None:
    async def answer(_: dict[str, Any]) -> Answer:
        return 200, {}, wire.whole("Hi")

    async with loopback(answer) as own, served(wire, lambda: problem(500)) as (provider, server):
        provider._endpoint._limits = LIMITS  # type: ignore[attr-defined]
        credential = Credential(OWN_KEY, f"{own.base_url}/")
        assert (await provider.complete(Call(TURNS, credential=credential))).text == "Hi"
    assert server.requests == []
    assert KEY not in str(own.requests)
    assert own.paths[0].startswith("/v1/")
    assert "//" not in own.paths[0]


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1/v1", "http://[::1]:1/v1", "http://localhost:1/v1"])
async def test_a_tenants_address_on_this_machine_is_refused(base_url: str) -> None:
    provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:2/v1", "tiny", CallLimits(5, 5, 3, 100))
    call = Call(TURNS, tenant_id="t", credential=Credential(OWN_KEY, base_url))
    with pytest.raises(ProviderRejected), capture_logs() as logs:
        await provider.complete(call)
    await provider.close()
    said = str(logs)
    assert "AddressRefused" in said
    assert OWN_KEY not in said
    assert base_url not in said


async def test_what_the_operator_allows_is_reached_by_name_and_by_number() -> None:
    provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:2/v1", "tiny", LIMITS)

    async def answer(_: dict[str, Any]) -> Answer:
        return completion("Hi")

    async with loopback(answer) as own:
        for address in (own.base_url, own.base_url.replace("127.0.0.1", "localhost")):
            try:
                answered = await provider.complete(Call(TURNS, credential=Credential(OWN_KEY, address)))
            except ProviderRejected:  # the name has an address of IPv6 too, which nobody allowed
                assert "localhost" in address
            else:
                assert answered.text == "Hi"
        assert own.requests
    await provider.close()


async def test_a_redirect_is_not_followed() -> None:
    elsewhere: list[str] = []

    async def other(_: dict[str, Any]) -> Answer:
        elsewhere.append("called")
        return completion("Hi")

    async with loopback(other) as target:

        async def redirect(_: dict[str, Any]) -> Answer:
            return 307, {"location": target.base_url}, b""

        async with loopback(redirect) as own:
            provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:2/v1", "tiny", LIMITS)
            with pytest.raises(ProviderRejected):
                await provider.complete(Call(TURNS, credential=Credential(OWN_KEY, own.base_url)))
            await provider.close()
    assert elsewhere == []


@pytest.mark.parametrize("key", ["a\r\nx-evil: 1", "a\0b"])
async def test_a_key_that_no_header_can_hold_is_a_provider_error(key: str) -> None:
    async with served(OPENAI, lambda: completion("Hi")) as (provider, server):
        with pytest.raises(ProviderError):
            await provider.complete(Call(TURNS, credential=Credential(key)))
    assert server.requests == []


async def test_a_name_that_is_nowhere_is_unavailable() -> None:
    provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:2/v1", "tiny", LIMITS)
    credential = Credential(OWN_KEY, "http://nowhere.invalid/v1")
    with pytest.raises(ProviderUnavailable):
        await provider.complete(Call([Message("user", "Hi")], credential=credential))
    await provider.close()


async def test_what_one_tenants_server_refuses_is_not_learned_of_anothers() -> None:
    async def picky(body: dict[str, Any]) -> Answer:
        return problem(400, "unknown parameter max_tokens") if "max_tokens" in body else completion("Hi")

    async def plain(_: dict[str, Any]) -> Answer:
        return completion("Hi")

    async with loopback(picky) as one, loopback(plain) as two:
        provider = OpenAICompatibleProvider(KEY, "http://127.0.0.1:2/v1", "tiny", LIMITS)
        for own in (one, one, two):
            await provider.complete(Call(TURNS, credential=Credential(OWN_KEY, own.base_url)))
        await provider.close()
    assert ["max_tokens" in body for _, body in one.requests] == [True, False, False]
    assert ["max_tokens" in body for _, body in two.requests] == [True]
