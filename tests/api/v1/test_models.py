"""The models that a caller may name, as OpenAI's own client lists them."""

import openai
import pytest

from tests.api.v1.conftest import Live
from tests.helpers import Tenant


async def test_models_are_listed_and_found(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        listed = [model async for model in client.models.list()]
        found = await client.models.retrieve("mock-echo")
        with pytest.raises(openai.NotFoundError) as refused:
            await client.models.retrieve("gpt-none/of any")
    assert [model.id for model in listed] == ["mock-echo", "hash", "older"]
    assert (found.id, found.object, found.owned_by) == ("mock-echo", "model", "mock")
    assert refused.value.code == "model_not_found"


async def test_a_key_that_only_writes_may_ask_for_them_and_they_are_what_it_may_name(
    live: Live, tenant: Tenant
) -> None:
    body = {"name": "a client", "scopes": ["messages:write"]}
    key = (await live.client.post("/api-keys", json=body, headers=tenant.user.headers)).json()["key"]
    async with live.openai() as client:
        client.api_key = key
        assert "mock-echo" in [model.id async for model in client.models.list()]
        with pytest.raises(openai.NotFoundError) as refused:
            await client.chat.completions.create(model="gpt-none", messages=[{"role": "user", "content": "Hello"}])
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
