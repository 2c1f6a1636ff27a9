"""Which models answer, at what price, and how long a message may take."""

from contextlib import suppress
from typing import Annotated, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from app.core.settings.base import CommaSeparated, SettingsGroup

SHARE_OF_TIME = 0.9
"""What is left of a message's time is for storing its end."""
ProviderName = Literal["mock", "openai", "anthropic", "ollama"]


class Price(BaseModel, frozen=True, extra="forbid"):
    """Millionths of a US dollar for a million tokens. `cached`: input from the provider's cache; None: as `input`."""

    input: Annotated[int, Field(ge=0)]
    output: Annotated[int, Field(ge=0)]
    cached: Annotated[int | None, Field(ge=0)] = None


# Make-believe, so that budgets can be tried without a key.
MOCK_PRICES = {"mock-echo": Price(input=1_000_000, output=2_000_000)}


class LLMSettings(SettingsGroup):
    llm_provider: ProviderName = "mock"
    llm_model: str = ""
    llm_fallbacks: CommaSeparated[str] = []
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    llm_token_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    llm_breaker_failures: Annotated[int, Field(ge=0)] = 5
    llm_breaker_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    llm_context_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 8192
    llm_max_running_per_tenant: Annotated[int, Field(ge=1)] = 1000
    llm_prices: dict[str, Price] = MOCK_PRICES
    llm_mock_latency_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    llm_mock_fail_every: Annotated[int, Field(ge=0)] = 0
    message_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 240.0
    message_lease_seconds: Annotated[float, Field(ge=1, le=86400)] = 15.0
    message_workers: bool = False
    message_queue_seconds: Annotated[float, Field(ge=1, le=30 * 86400)] = 3600.0
    worker_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 20
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""
    anthropic_api_key: SecretStr = SecretStr("")
    anthropic_base_url: str = ""
    ollama_base_url: str = "http://127.0.0.1:11434"
    stream_heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    stream_max_per_user: Annotated[int, Field(ge=1)] = 50
    webhook_allowed_networks: CommaSeparated[IPvAnyNetwork] = []

    @field_validator("openai_base_url", "anthropic_base_url", "ollama_base_url")
    @classmethod
    def _names_a_server(cls, value: str) -> str:
        with suppress(ValueError):
            parts = urlsplit(value)
            plain = not parts.query and not parts.fragment and not set(value) & set(" \t\r\n")
            if not value or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and plain):
                return value
        raise ValueError("must be a URL such as https://llm.example.com/v1")

    @model_validator(mode="after")
    def _can_answer(self) -> Self:
        if self.message_timeout_seconds <= self.llm_timeout_seconds * (1 + len(self.llm_fallbacks)):
            raise ValueError("MESSAGE_TIMEOUT_SECONDS must be longer than LLM_TIMEOUT_SECONDS (times the providers)")
        for name, _ in self.providers():
            self._require_key(name)
        return self

    @property
    def longest_stream_seconds(self) -> float:
        """What flows may go on for: until its time is nearly over, whichever provider of the chain it comes from."""
        rest = self.message_timeout_seconds - self.llm_timeout_seconds * len(self.llm_fallbacks)
        return max(self.llm_timeout_seconds, rest * SHARE_OF_TIME)

    @property
    def equal_call_seconds(self) -> float:
        """How long a call may wait for an equal one: after it, its own must end in its message's time."""
        own = self.llm_timeout_seconds * len(self.llm_fallbacks) + self.longest_stream_seconds
        return min(self.llm_timeout_seconds, self.message_timeout_seconds - own)

    def providers(self) -> list[tuple[ProviderName, str]]:
        """The providers to try in order, each with its model (empty: the provider's default here)."""
        chain: list[tuple[ProviderName, str]] = [(self.llm_provider, self.llm_model)]
        for pair in self.llm_fallbacks:
            name, _, model = pair.partition(":")
            if name not in get_args(ProviderName):
                raise ValueError("LLM_FALLBACKS names a provider that does not exist: use provider:model,...")
            chain.append((cast("ProviderName", name), model))
        return chain

    def _require_key(self, name: ProviderName) -> None:
        keys = {"openai": self.openai_api_key, "anthropic": self.anthropic_api_key}
        if name not in keys:
            return
        key = keys[name].get_secret_value()
        if not key:
            raise ValueError(f"the provider {name} needs {name.upper()}_API_KEY")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"{name.upper()}_API_KEY holds characters that a header cannot")
