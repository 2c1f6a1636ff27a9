"""The catalogue of `LLM_MODELS`: which models callers may name, where each is asked for, and at what price."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

ProviderName = Literal["mock", "openai", "anthropic", "ollama"]
Capability = Literal["tools", "images", "reasoning", "json_schema", "sampling", "seed"]
"""`sampling`: that it takes temperature, top_p and penalties."""
DEFAULT_MODELS: dict[ProviderName, str] = {
    "mock": "mock-echo",
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-5-5",
    "ollama": "llama3.2",
}
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
MAX_MODELS = 1000
MAX_TOKENS = 10_000_000
# A model's worth of a million tokens costs less than this, in micro-USD: sums of prices fit a column.
MAX_PRICE = 10**12

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
MicroUsd = Annotated[int, Field(ge=0, le=MAX_PRICE)]


def _server(value: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(value)
        plain = not parts.query and not parts.fragment and not set(value) & set(" \t\r\n")
        if not value or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and plain):
            return value
    raise ValueError("must be a URL such as https://llm.example.com/v1")


ServerUrl = Annotated[str, AfterValidator(_server)]


class Rates(BaseModel, frozen=True, extra="forbid"):
    """Millionths of a US dollar for a million tokens.

    `cached`: input that the provider had in its cache; `written`: input that it put there. None: as `input`.
    """

    input: MicroUsd
    output: MicroUsd
    cached: MicroUsd | None = None
    written: MicroUsd | None = None


class Tier(Rates):
    """What all tokens of a call cost whose input is more than `above` tokens."""

    above: Tokens


class Price(Rates):
    tiers: tuple[Tier, ...] | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        starts = [tier.above for tier in self.tiers or ()]
        if starts != sorted(set(starts)):
            raise ValueError("tiers must rise by `above`")
        return self

    def rates(self, input_tokens: int) -> Rates:
        """Of a call with so many tokens of input."""
        return next((tier for tier in reversed(self.tiers or ()) if input_tokens > tier.above), self)

    def reachable(self, input_tokens: int) -> list[Rates]:
        """Of calls with at most so many."""
        return [self, *(tier for tier in self.tiers or () if input_tokens > tier.above)]


class UpstreamEntry(BaseModel, frozen=True, extra="forbid"):
    """Where a model is asked for. What is left out is the provider's: its own setting's address and key.

    The key is named (`api_key_env`: a variable, `api_key_file`: a file) or, if need be, written out (`api_key`).
    `account`: under which name tenants may bring keys of their own for it; at the provider's own address, its name.
    """

    provider: ProviderName
    model: Annotated[str, Field(max_length=255)] = ""
    base_url: ServerUrl = ""
    api_key: SecretStr = SecretStr("")
    api_key_env: str = ""
    api_key_file: str = ""
    account: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,40}$")] = ""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1

    def own_key(self) -> str:
        """The key that it names or holds; "": the provider's. Raises `ValueError` for one that is not there."""
        named = [bool(self.api_key.get_secret_value()), bool(self.api_key_env), bool(self.api_key_file)]
        if sum(named) > 1:
            raise ValueError("give one of api_key, api_key_env and api_key_file")
        if self.api_key_env:
            key = os.environ.get(self.api_key_env) or dotenv_values(".env").get(self.api_key_env) or ""
            return usable(key, f"the variable {self.api_key_env}")
        if self.api_key_file:
            try:
                key = Path(self.api_key_file).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{self.api_key_file} cannot be read: {type(error).__name__}") from None
            return usable(key, self.api_key_file)
        written = self.api_key.get_secret_value()
        return usable(written, "api_key") if written else ""


class ModelEntry(BaseModel, frozen=True, extra="forbid"):
    """One public name. It has one upstream, written at the top, or several with their weights."""

    provider: ProviderName | None = None
    model: Annotated[str, Field(max_length=255)] = ""
    base_url: ServerUrl = ""
    api_key: SecretStr = SecretStr("")
    api_key_env: str = ""
    api_key_file: str = ""
    account: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,40}$")] = ""
    upstreams: Annotated[tuple[UpstreamEntry, ...], Field(max_length=20)] = ()
    description: Annotated[str, Field(max_length=500)] = ""
    context_tokens: Tokens | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    capabilities: frozenset[Capability] | None = None
    image_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    fallbacks: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    price: Price | None = None

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        own = UpstreamEntry.model_fields.keys() & self.model_fields_set
        if self.upstreams and own:
            raise ValueError(f"with upstreams, {min(own)} is each one's own")
        if not self.upstreams and self.provider is None:
            raise ValueError("a model needs a provider, or upstreams")
        if self.context_tokens and self.max_output_tokens and self.max_output_tokens >= self.context_tokens:
            raise ValueError("max_output_tokens must leave room in context_tokens")
        return self

    def where(self) -> tuple[UpstreamEntry, ...]:
        if self.upstreams:
            return self.upstreams
        fields = UpstreamEntry.model_fields.keys() & self.model_fields_set
        return (UpstreamEntry(**{name: getattr(self, name) for name in fields}),)


def _parsed(value: object) -> object:
    """JSON as a variable or a file holds it. A name that stands there twice is refused: one of them would be lost."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: line {error.lineno}, column {error.colno}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0][:128]!r} stands in it twice")
    return dict(pairs)


def read(path: str) -> str:
    """The catalogue's file, whole."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"LLM_MODELS_FILE: {path} cannot be read: {type(error).__name__}") from None


ModelName = Annotated[str, Field(pattern=MODEL_NAME)]
Models = Annotated[dict[ModelName, ModelEntry], NoDecode, BeforeValidator(_parsed), Field(max_length=MAX_MODELS)]


def require_fallbacks(models: Mapping[str, ModelEntry]) -> None:
    """Raise `ValueError` for a fallback that is no other model of the catalogue."""
    for name, entry in models.items():
        for fallback in entry.fallbacks:
            if fallback not in models:
                raise ValueError(f"LLM_MODELS: {name}: the fallback {fallback!r} is no model of the catalogue")
            if fallback == name:
                raise ValueError(f"LLM_MODELS: {name}: a model is no fallback for itself")
        if len(set(entry.fallbacks)) < len(entry.fallbacks):
            raise ValueError(f"LLM_MODELS: {name}: a fallback is named twice")


def usable(key: str, where: str) -> str:
    """The key, if a header can hold it; raises `ValueError`."""
    key = key.strip()
    if not key:
        raise ValueError(f"{where} holds no key")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{where} holds characters that a header cannot")
    return key
