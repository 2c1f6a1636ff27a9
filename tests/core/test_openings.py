"""What production says at start about what everybody may do."""

from typing import Any

import pytest

from app.core.settings.openings import openings
from tests.core.test_config import GOOD, settings

CLOSED = {
    "tenant_creation": "operator",
    "operator_token": "x" * 32,
    "default_registration": "invite",
    "llm_provider": "ollama",
    "trusted_hosts": "api.example.com",
}
ALWAYS = "DOCS_ENABLED"


def test_development_is_open_and_says_nothing() -> None:
    assert openings(settings()) == []


def test_the_defaults_of_production_are_all_named() -> None:
    text = "\n".join(openings(settings(**GOOD)))
    for name in (
        "TENANT_CREATION=open",
        "DEFAULT_REGISTRATION=open",
        "LLM_PROVIDER=mock",
        "DOCS_ENABLED",
        "TRUSTED_HOSTS",
    ):
        assert name in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"tenant_creation": "open"}, "TENANT_CREATION"),
        ({"default_registration": "open"}, "DEFAULT_REGISTRATION"),
        ({"llm_fallbacks": "mock"}, "LLM_PROVIDER=mock"),
        ({"llm_provider": "mock", "llm_models": '{"own": {"provider": "ollama"}}'}, None),
        ({"llm_models": '{"own": {"provider": "ollama"}, "try": {"provider": "mock"}}'}, "LLM_PROVIDER=mock"),
        ({"rate_limit_enabled": False}, "RATE_LIMIT_ENABLED"),
        ({"trusted_hosts": ""}, "TRUSTED_HOSTS"),
    ],
)
def test_what_is_closed_is_not_named(change: dict[str, Any], says: str | None) -> None:
    found = [line for line in openings(settings(**{**GOOD, **CLOSED, **change})) if ALWAYS not in line]
    assert len(found) == (1 if says else 0)
    assert all(str(says) in line for line in found)
