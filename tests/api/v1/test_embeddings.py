"""Embeddings as OpenAI's own client asks for them."""

import threading
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from app.core.settings.llm import Price
from app.documents.embedding.embedders import Embedders
from app.documents.metering import Meter
from app.documents.shapes import Embedded, Kind
from app.llm.pricing import PriceTable
from tests.api.v1.conftest import Live
from tests.documents.library import HashEmbedder
from tests.helpers import Tenant, make_tenant


async def test_openais_client_embeds_texts_without_a_change(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        made = await client.embeddings.create(model="hash", input=["What is async Python?", "Leases"])  # as base64
        floats = await client.embeddings.create(model="hash", input="Leases", encoding_format="float")
        other = await client.embeddings.create(model="older", input="Leases", dimensions=8)
    embedder = HashEmbedder()
    expected = (await embedder.embed(["What is async Python?", "Leases"], "passage")).vectors
    assert [each.index for each in made.data] == [0, 1]
    for each, vector in zip(made.data, expected, strict=True):
        assert each.embedding == pytest.approx(vector, abs=1e-7)
    assert floats.data[0].embedding == list(expected[1])
    assert len(other.data[0].embedding) == 8
    assert (made.model, made.usage.prompt_tokens, made.usage.total_tokens) == ("hash", 6, 6)


async def test_they_count_in_the_usage(live: Live, tenant: Tenant) -> None:
    async with live.openai(tenant.user) as client:
        await client.embeddings.create(model="hash", input=["one two three"])
    rows = (await live.client.get("/usage?group_by=user", headers=tenant.admin.headers)).json()
    assert sum(row["embedding_tokens"] for row in rows if row["key"] == tenant.user.id) >= 3


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"model": "gpt-5", "input": "a"}, 404, "model_not_found", "model"),
        ({"model": "a\nb", "input": "a"}, 400, "invalid_value", "model"),
        ({"model": "hash", "input": [[1, 2], [3]]}, 400, "unsupported_value", "input"),
        ({"model": "hash", "input": [1, 2, 3]}, 400, "unsupported_value", "input"),
        ({"model": "hash", "input": []}, 400, "missing_required_parameter", "input"),
        ({"model": "hash", "input": ["a", ""]}, 400, "invalid_value", "input[1]"),
        ({"model": "hash", "input": ["a", {}]}, 400, "invalid_type", "input[1]"),
        ({"model": "hash", "input": ["a"] * 2049}, 400, "array_above_max_length", "input"),
        ({"model": "hash", "input": "word " * 300}, 400, "context_length_exceeded", "input[0]"),
        ({"model": "hash", "input": "a", "dimensions": 3}, 400, "unsupported_value", "dimensions"),
        ({"model": "hash", "input": "a", "encoding_format": "hex"}, 400, "invalid_value", "encoding_format"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_in_openais_words(
    live: Live, tenant: Tenant, asked: dict[str, Any], status: int, code: str, param: str
) -> None:
    before = len(live.requests)
    async with live.openai(tenant.user) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.embeddings.create(**asked)
    error = refused.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert len(live.requests) == before + 1


async def test_a_budget_bounds_them_and_the_client_asks_once(live: Live) -> None:
    poor = await make_tenant(live.client)
    ceiling = live.app.state.container.shared.ceiling
    meter = Meter(PriceTable({"hash": Price(input=10**12, output=0)}), ceiling)
    paid = Embedders(HashEmbedder(is_free=False))
    budget = await live.client.put("/admin/budget", json={"limit_micro_usd": 5}, headers=poor.admin.headers)
    assert budget.status_code == 200
    before = len(live.requests)
    async with live.openai(poor.user) as client:
        with live.sharing(embedders=paid, meter=meter), pytest.raises(openai.RateLimitError) as refused:
            await client.embeddings.create(model="hash", input="too dear")
    assert refused.value.code == "insufficient_quota"
    assert len(live.requests) == before + 1


async def test_a_service_without_an_embedder_says_so_once(live: Live, tenant: Tenant) -> None:
    before = len(live.requests)
    async with live.openai(tenant.user) as client:
        with live.sharing(embedders=None), pytest.raises(openai.InternalServerError) as refused:
            await client.embeddings.create(model="hash", input="a")
    assert (refused.value.status_code, refused.value.code) == (501, "documents_off")
    assert len(live.requests) == before + 1


async def test_texts_are_not_tokenized_where_everybody_waits(live: Live, tenant: Tenant) -> None:
    class Watched(HashEmbedder):
        def __init__(self) -> None:
            super().__init__()
            self.read: list[tuple[int, bool]] = []

        def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
            self.read.append((len(text), threading.current_thread() is threading.main_thread()))
            return super().token_spans(text)

        async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
            return Embedded([[1.0] * self.dimensions for _ in texts], len(texts))

    async def asked(*texts: str) -> int:
        body = {"model": "hash", "input": texts}
        return (await live.client.post("/v1/embeddings", json=body, headers=tenant.user.headers)).status_code

    watched = Watched()
    with live.sharing(embedders=Embedders(watched)):
        assert await asked("a" * 1_000_000) == 400
        assert not watched.read
        assert await asked(*["a" * 1000] * 100) == 200
    assert watched.read == [(1000, False)] * 100
