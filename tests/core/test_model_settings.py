"""The catalogue in the settings: what it takes, and what it refuses by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.config import Settings

FAST = {"provider": "openai", "model": "gpt-4o-mini", "api_key": "sk-written-out"}
OWN = {"provider": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "none"}


def settings(models: dict[str, Any] | str, **values: Any) -> Settings:
    written = models if isinstance(models, str) else json.dumps(models)
    return Settings(_env_file=None, llm_models=written, **values)


def test_without_a_catalogue_there_is_the_one_model_of_its_provider_with_its_fallbacks() -> None:
    made = Settings(_env_file=None, llm_fallbacks="mock:,ollama:")
    assert (made.public_models, made.default_model) == (["mock-echo"], "mock-echo")
    assert [(name, entry.provider, entry.model) for name, entry in made.catalogue().items()] == [
        ("mock-echo", "mock", "mock-echo"),
        ("mock-echo/2", "mock", "mock-echo"),
        ("llama3.2", "ollama", "llama3.2"),
    ]


def test_the_first_is_the_default_unless_one_is_named() -> None:
    models = {"fast": FAST, "own": OWN}
    assert settings(models).default_model == "fast"
    assert settings(models, llm_model="own").default_model == "own"
    assert settings(models).public_models == ["fast", "own"]


def test_a_key_is_read_where_its_entry_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-of-a-file\n")
    monkeypatch.setenv("KEY_OF_FAST", "sk-of-a-variable")
    models = {
        "variable": {"provider": "openai", "api_key_env": "KEY_OF_FAST"},
        "file": {"provider": "anthropic", "api_key_file": str(tmp_path / "key")},
        "settings": {"provider": "anthropic"},
    }
    made = settings(models, anthropic_api_key="sk-of-the-settings")
    keys = {name: made.key_of(entry.where()[0]) for name, entry in made.catalogue().items()}
    assert keys == {"variable": "sk-of-a-variable", "file": "sk-of-a-file", "settings": "sk-of-the-settings"}


def test_a_file_may_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"fast": FAST}))
    made = Settings(_env_file=None, llm_models_file=str(path))
    assert made.public_models == ["fast"]
    with pytest.raises(ValidationError, match="LLM_MODELS_FILE: LLM_MODELS is set too"):
        settings({"fast": FAST}, llm_models_file=str(path))
    with pytest.raises(ValidationError, match=r"LLM_MODELS_FILE: .* cannot be read: FileNotFoundError"):
        Settings(_env_file=None, llm_models_file=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("{", r"no JSON: line 1"),
        ('{"a": {"provider": "mock"}, "a": {"provider": "mock"}}', "'a' stands in it twice"),
        ({"a": {}}, r"llm_models\.a\n.*needs a provider"),
        ({"a": {"provider": "gpt"}}, r"llm_models\.a\.provider"),
        ({"a": {"provider": "mock", "fallback": ["b"]}}, r"llm_models\.a\.fallback\n.*not permitted"),
        ({"a": {"provider": "mock", "fallbacks": ["b"]}}, "LLM_MODELS: a: the fallback 'b' is no model"),
        ({"a": {"provider": "mock", "fallbacks": ["a"]}}, "LLM_MODELS: a: a model is no fallback for itself"),
        ({"a": {"provider": "openai"}}, "LLM_MODELS: a: the provider openai needs OPENAI_API_KEY"),
        ({"a": {"provider": "openai", "base_url": "http://x/v1"}}, "LLM_MODELS: a: a base_url of its own needs a key"),
        ({"a": {"provider": "openai", "api_key_env": "NO_SUCH"}}, "LLM_MODELS: a: the variable NO_SUCH holds no key"),
        ({"a": {"provider": "openai", "api_key_file": "/no/such"}}, "LLM_MODELS: a: /no/such cannot be read"),
        ({"a": {"provider": "openai", "api_key": "x", "api_key_env": "Y"}}, "LLM_MODELS: a: give one of"),
        ({"a": {"provider": "openai", "api_key": "x y"}}, "LLM_MODELS: a: api_key holds characters"),
        ({"a": {"provider": "mock", "base_url": "localhost"}}, r"llm_models\.a\.base_url\n.*must be a URL"),
        ({"a": {"provider": "mock", "upstreams": [{"provider": "mock"}]}}, "provider is each one's own"),
        ({"a": {"upstreams": [{"provider": "mock", "weight": 0}]}}, r"llm_models\.a\.upstreams\.0\.weight"),
        ({"a": {"provider": "mock", "context_tokens": 10, "max_output_tokens": 10}}, "must leave room"),
        ({"a": {"provider": "mock", "capabilities": ["flying"]}}, r"llm_models\.a\.capabilities"),
        ({"a": {"provider": "mock", "price": {"input": 1}}}, r"llm_models\.a\.price\.output"),
        ({"a\n": {"provider": "mock"}}, "pattern"),
        ({"\u0430": {"provider": "mock"}}, "pattern"),
        ({"a b": {"provider": "mock"}}, "pattern"),
    ],
)
def test_what_cannot_work_is_refused_by_its_entry(models: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(models)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"llm_fallbacks": "mock:"}, "LLM_FALLBACKS: with LLM_MODELS"),
        ({"llm_model": "gpt-4o"}, "LLM_MODEL: with LLM_MODELS it names the default"),
        ({"message_timeout_seconds": 100}, "times the providers"),
    ],
)
def test_the_settings_beside_it_must_fit(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings({"fast": {**FAST, "fallbacks": ["own"]}, "own": OWN}, **values)


def test_the_time_of_a_message_holds_the_longest_chain() -> None:
    place = {"provider": "mock"}
    models = {"many": {"upstreams": [place] * 2, "fallbacks": ["one"]}, "one": place}
    made = settings(models)
    assert made.longest_chain == 3
    assert made.longest_stream_seconds == pytest.approx((240 - 120) * 0.9)


def test_no_refusal_and_no_rendering_quotes_a_key() -> None:
    made = settings({"fast": FAST})
    for shown in (repr(made), str(made), repr(made.catalogue()), made.model_dump_json()):
        assert "sk-written-out" not in shown
    with pytest.raises(ValidationError) as refused:
        settings({"fast": {**FAST, "weight": 3, "unknown": 1, "price": 1}})
    assert "sk-written-out" not in str(refused.value)
