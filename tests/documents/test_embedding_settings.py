"""Which embedders the settings name, and what of them is refused at the start."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.core.config import Settings
from app.documents.embedding import factory
from app.documents.embedding.factory import create_embedders


def made(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def test_the_default_embeds_within_the_process() -> None:
    embedders = create_embedders(made())
    assert embedders is not None
    assert (embedders.current.model, embedders.current.dimensions) == ("all-MiniLM-L6-v2-int8", 384)


def test_a_changed_model_leaves_the_one_before_to_the_vectors_that_are_stored() -> None:
    settings = made(
        embedding_provider="ollama",
        embedding_model="bge-m3:latest",
        embedding_previous="local:all-MiniLM-L6-v2-int8:384",
    )
    embedders = create_embedders(settings)
    assert embedders is not None
    assert (embedders.current.name, embedders.current.dimensions) == ("bge-m3:latest", 1024)
    assert embedders.of("all-MiniLM-L6-v2-int8") is embedders.previous[0]
    assert embedders.of("another") is None


def test_documents_that_are_switched_off_need_nothing() -> None:
    assert create_embedders(made(documents_enabled=False, embedding_provider="openai")) is None


def test_without_the_extra_the_service_starts_and_has_no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "find_spec", lambda name: None if name == "onnxruntime" else object())
    assert create_embedders(made()) is None
    assert create_embedders(made(embedding_provider="ollama")) is not None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"embedding_provider": "openai"}, "OPENAI_API_KEY"),
        ({"embedding_model": "bge-m3"}, "EMBEDDING_MODEL"),
        ({"embedding_provider": "ollama", "embedding_model": "nobody-knows-it"}, "EMBEDDING_DIMENSIONS"),
        ({"embedding_previous": "ollama:bge-m3"}, "provider:model:dimensions"),
        ({"embedding_previous": "ollama:bge-m3:9000"}, "4000"),
        ({"embedding_previous": "mock:bge-m3:384"}, "provider:model:dimensions"),
    ],
)
def test_what_cannot_embed_is_refused_at_the_start(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        made(**values)
