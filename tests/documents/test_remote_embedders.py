"""Embedders over HTTP: what is sent, what is believed of the answer, and what is counted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.core.errors import ProviderError
from app.documents.embedding.remote import RemoteEmbedder, ollama_embedder, openai_embedder
from app.llm.base import CallLimits
from tests.llm.loopback import loopback

LIMITS = CallLimits(5, 5, 0, 0)
TEXTS = ["tea", "a machine"]
VECTORS = [[3.0, 4.0], [0.0, 2.0]]


def openai_answer(vectors: list[Any], tokens: Any) -> dict[str, Any]:
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    return {"data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def ollama_answer(vectors: list[Any], tokens: Any) -> dict[str, Any]:
    return {"embeddings": vectors, "prompt_eval_count": tokens}


def of_openai(url: str) -> RemoteEmbedder:
    return openai_embedder(url, "sk-key", "small-1", 2, 100, LIMITS)


def of_ollama(url: str) -> RemoteEmbedder:
    return ollama_embedder(url, "small-1", 2, 100, LIMITS)


Answer = Callable[[list[Any], Any], dict[str, Any]]
WIRES = pytest.mark.parametrize(
    ("make", "answer"), [(of_openai, openai_answer), (of_ollama, ollama_answer)], ids=["openai", "ollama"]
)


async def ask(make: Callable[[str], RemoteEmbedder], body: dict[str, Any], texts: list[str]) -> Any:
    """What the embedder makes of such an answer, and the body that it sent."""

    async def handler(_: dict[str, Any]) -> Any:
        return 200, {}, json.dumps(body).encode()

    async with loopback(handler) as server:
        embedder = make(server.base_url)
        try:
            return await embedder.embed(texts, "passage"), server.requests[0][1]
        finally:
            await embedder.close()


@WIRES
async def test_vectors_have_length_one_and_the_order_of_their_texts(make: Any, answer: Answer) -> None:
    embedded, sent = await ask(make, answer(VECTORS, 7), TEXTS)
    assert embedded.vectors == [[0.6, 0.8], [0.0, 1.0]]
    assert embedded.tokens == 7
    assert (sent["model"], sent["input"]) == ("small-1", TEXTS)


@WIRES
@pytest.mark.parametrize("count", [None, 0, -5, True, "7", 1.5, 10**12])
async def test_tokens_that_nobody_counted_are_estimated(make: Any, answer: Answer, count: Any) -> None:
    embedded, _ = await ask(make, answer(VECTORS, count), TEXTS)
    assert embedded.tokens == 1 + 3


@WIRES
@pytest.mark.parametrize(
    "vectors",
    [VECTORS[:1], [[3.0], [0.0]], [[0.0, 0.0], [1.0, 0.0]], [[1e999, 1.0], [1.0, 0.0]], [None, None]],
    ids=["one is missing", "other dimensions", "no length", "not finite", "no vector"],
)
async def test_what_is_no_vector_of_the_model_is_a_failure_of_its_provider(
    make: Any, answer: Answer, vectors: list[Any]
) -> None:
    with pytest.raises(ProviderError):
        await ask(make, answer(vectors, 7), TEXTS)


def test_the_same_name_with_other_dimensions_is_another_model() -> None:
    small = openai_embedder("http://127.0.0.1:1", "", "large", 256, 100, LIMITS)
    large = openai_embedder("http://127.0.0.1:1", "", "large", 3072, 100, LIMITS)
    assert small.name == large.name == "large"
    assert small.model != large.model
