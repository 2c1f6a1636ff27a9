"""Which models answer, at what price, and how long a message may take."""

from typing import Annotated, Any, Self, cast, get_args

from pydantic import Field, IPvAnyNetwork, SecretStr, model_validator

from app.core.settings import models
from app.core.settings.base import CommaSeparated, SettingsGroup
from app.core.settings.models import ModelEntry, Models, Price, ProviderName, ServerUrl, UpstreamEntry

__all__ = ["LLMSettings", "Price", "ProviderName"]

SHARE_OF_TIME = 0.9
"""What is left of a message's time is for storing its end."""


# Make-believe, so that budgets can be tried without a key.
MOCK_PRICES = {"mock-echo": Price(input=1_000_000, output=2_000_000)}


class LLMSettings(SettingsGroup):
    llm_provider: ProviderName = "mock"
    llm_model: str = ""
    llm_fallbacks: CommaSeparated[str] = []
    llm_models: Models = {}
    llm_models_file: str = ""
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    llm_token_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    llm_breaker_failures: Annotated[int, Field(ge=0)] = 5
    llm_breaker_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    llm_context_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 8192
    llm_max_running_per_tenant: Annotated[int, Field(ge=1)] = 1000
    llm_image_max_bytes: Annotated[int, Field(ge=1, le=50_000_000)] = 20 * 2**20
    llm_prices: dict[str, Price] = MOCK_PRICES
    llm_mock_latency_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    llm_mock_fail_every: Annotated[int, Field(ge=0)] = 0
    message_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 240.0
    message_lease_seconds: Annotated[float, Field(ge=1, le=86400)] = 15.0
    message_workers: bool = False
    message_queue_seconds: Annotated[float, Field(ge=1, le=30 * 86400)] = 3600.0
    v1_retention_days: Annotated[int, Field(ge=1, le=36500)] = 30
    worker_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 20
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: ServerUrl = ""
    anthropic_api_key: SecretStr = SecretStr("")
    anthropic_base_url: ServerUrl = ""
    ollama_base_url: ServerUrl = "http://127.0.0.1:11434"
    stream_heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    stream_max_per_user: Annotated[int, Field(ge=1)] = 50
    webhook_allowed_networks: CommaSeparated[IPvAnyNetwork] = []

    @model_validator(mode="before")
    @classmethod
    def _with_its_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        path = values.get("llm_models_file")
        if not path:
            return values
        if values.get("llm_models"):
            raise ValueError("LLM_MODELS_FILE: LLM_MODELS is set too; give one of them")
        return {**values, "llm_models": models.read(str(path))}

    @model_validator(mode="after")
    def _can_answer(self) -> Self:
        if self.llm_models:
            self._require_a_catalogue()
        if self.message_timeout_seconds <= self.llm_timeout_seconds * self.longest_chain:
            raise ValueError("MESSAGE_TIMEOUT_SECONDS must be longer than LLM_TIMEOUT_SECONDS (times the providers)")
        for name, entry in self.catalogue().items():
            for upstream in entry.where():
                try:
                    self.key_of(upstream)
                except ValueError as error:
                    raise ValueError(f"LLM_MODELS: {name}: {error}" if self.llm_models else str(error)) from None
        return self

    def _require_a_catalogue(self) -> None:
        if self.llm_fallbacks:
            raise ValueError("LLM_FALLBACKS: with LLM_MODELS each model has fallbacks of its own")
        if self.llm_model and self.llm_model not in self.llm_models:
            raise ValueError("LLM_MODEL: with LLM_MODELS it names the default, and must be a model of the catalogue")
        models.require_fallbacks(self.llm_models)

    @property
    def longest_chain(self) -> int:
        """How many upstreams may be asked for one message, one after another."""
        entries = self.catalogue()
        return max(
            sum(len(entries[one].where()) for one in (name, *entry.fallbacks)) for name, entry in entries.items()
        )

    @property
    def longest_stream_seconds(self) -> float:
        """What flows may go on for: until its time is nearly over, whichever provider of the chain it comes from."""
        rest = self.message_timeout_seconds - self.llm_timeout_seconds * (self.longest_chain - 1)
        return max(self.llm_timeout_seconds, rest * SHARE_OF_TIME)

    @property
    def equal_call_seconds(self) -> float:
        """How long a call may wait for an equal one: after it, its own must end in its message's time."""
        own = self.llm_timeout_seconds * (self.longest_chain - 1) + self.longest_stream_seconds
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

    def catalogue(self) -> dict[str, ModelEntry]:
        """All models by their public names: those of `LLM_MODELS`, or the one of `LLM_PROVIDER` with its fallbacks."""
        if self.llm_models:
            return self.llm_models
        chain = [(provider, model or models.DEFAULT_MODELS[provider]) for provider, model in self.providers()]
        # One may stand there twice; the names of fallbacks are for metrics and logs alone.
        asked = [model for _, model in chain]
        names = [model if asked.index(model) == at else f"{model}/{at + 1}" for at, model in enumerate(asked)]
        (provider, model), *rest = chain
        first = ModelEntry(provider=provider, model=model, fallbacks=tuple(names[1:]))
        others = (ModelEntry(provider=provider, model=model) for provider, model in rest)
        return dict(zip(names, [first, *others], strict=True))

    @property
    def default_model(self) -> str:
        """The public name of what answers where none is named."""
        return self.llm_model if self.llm_models and self.llm_model else next(iter(self.catalogue()))

    @property
    def public_models(self) -> list[str]:
        """What may be asked for by name: of the single-model settings, the one."""
        return list(self.llm_models) or [self.default_model]

    def key_of(self, upstream: UpstreamEntry) -> str:
        """The key for an upstream. Raises `ValueError` for one that is missing, or that no header can hold.

        A server of its own is not sent the provider's key.
        """
        if own := upstream.own_key():
            return own
        keys = {"openai": self.openai_api_key, "anthropic": self.anthropic_api_key}
        if upstream.provider not in keys:
            return ""
        if upstream.base_url:
            raise ValueError("a base_url of its own needs a key of its own (any text where the server wants none)")
        name = f"{upstream.provider.upper()}_API_KEY"
        key = keys[upstream.provider].get_secret_value()
        if not key:
            raise ValueError(f"the provider {upstream.provider} needs {name}")
        return models.usable(key, name)
