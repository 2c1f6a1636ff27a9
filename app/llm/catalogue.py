"""The models that callers may name, and where each of them is asked for.

Made of the settings once, at the start. What a caller may use of it is `app/llm/policy.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import get_args

from app.core.config import Settings
from app.core.settings.models import Capability, ModelEntry, Price, ProviderName, UpstreamEntry
from app.llm.known_prices import Found, price_of
from app.llm.pricing import PriceTable

EVERYTHING: frozenset[Capability] = frozenset(get_args(Capability))
# The most that a provider counts an image as, whatever its size: of OpenAI's small models a tile is 5,667 tokens.
IMAGE_TOKENS: dict[ProviderName, int] = {"mock": 1000, "openai": 50_000, "anthropic": 5_000, "ollama": 5_000}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model at a provider. `label` is its name in metrics and logs, and unique.

    `account`: whose keys it takes where a tenant brings its own; "": nobody's.
    """

    label: str
    provider: ProviderName
    model: str
    weight: int = 1
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    account: str = ""
    price: Found | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What a public name stands for. `listed`: callers may name it; others stand in for those that fail."""

    name: str
    upstreams: tuple[Upstream, ...]
    max_output_tokens: int
    context_tokens: int | None = None
    capabilities: frozenset[Capability] = EVERYTHING
    image_tokens: int = max(IMAGE_TOKENS.values())
    fallbacks: tuple[str, ...] = ()
    description: str = ""
    listed: bool = True
    renames: bool = True
    """Whether an answer is said to be of the public name, whatever the provider calls its model."""

    @property
    def price(self) -> Price | None:
        """The dearest of its upstreams, by output; None if one of them has none."""
        known = [upstream.price.price for upstream in self.upstreams if upstream.price is not None]
        complete = len(known) == len(self.upstreams)
        return max(known, key=lambda price: (price.output, price.input)) if complete else None


class Catalogue:
    """By public name, in the order of the settings."""

    def __init__(self, models: Sequence[Model], default: str = "") -> None:
        self._models = {model.name: model for model in models}
        self.default = self._models[default or models[0].name]

    @property
    def all(self) -> list[Model]:
        return list(self._models.values())

    @property
    def listed(self) -> list[Model]:
        return [model for model in self._models.values() if model.listed]

    @property
    def names(self) -> frozenset[str]:
        """That callers may name."""
        return frozenset(model.name for model in self.listed)

    @property
    def upstreams(self) -> list[Upstream]:
        return [upstream for model in self._models.values() for upstream in model.upstreams]

    def find(self, name: str) -> Model | None:
        """What a caller may name."""
        model = self._models.get(name)
        return model if model is not None and model.listed else None

    def named(self, name: str) -> Model:
        """As it was named once; the default where there is no such model any more, or none was named."""
        return self._models.get(name, self.default)

    def in_place_of(self, model: Model, allowed: Collection[str] | None) -> list[Model]:
        """What may answer instead, in order. `allowed`: what may be named, None: all; others are passed over."""
        others = (self._models[name] for name in model.fallbacks)
        return [other for other in others if not other.listed or allowed is None or other.name in allowed]

    def reach(self, model: Model, allowed: Collection[str] | None = None) -> list[Upstream]:
        """Every upstream that may answer."""
        return [upstream for one in (model, *self.in_place_of(model, allowed)) for upstream in one.upstreams]


def catalogue_of(settings: Settings) -> Catalogue:
    """Of `LLM_MODELS`, or of the single-model settings; each upstream with its price, where there is one."""
    table, public = PriceTable(settings.llm_prices), set(settings.public_models)
    return Catalogue(
        [_model(settings, table, name, entry, name in public) for name, entry in settings.catalogue().items()],
        settings.default_model,
    )


def _model(settings: Settings, table: PriceTable, name: str, entry: ModelEntry, listed: bool) -> Model:
    places = entry.where()
    labels = [name] if len(places) == 1 else [f"{name}/{number}" for number in range(1, len(places) + 1)]
    upstreams = tuple(
        _upstream(settings, table, label, name, entry, place) for label, place in zip(labels, places, strict=True)
    )
    return Model(
        name=name,
        upstreams=upstreams,
        max_output_tokens=entry.max_output_tokens or settings.llm_max_output_tokens,
        context_tokens=entry.context_tokens,
        capabilities=EVERYTHING if entry.capabilities is None else entry.capabilities,
        image_tokens=entry.image_tokens or max(IMAGE_TOKENS[upstream.provider] for upstream in upstreams),
        fallbacks=entry.fallbacks,
        description=entry.description,
        listed=listed,
        renames=bool(settings.llm_models),
    )


def _upstream(
    settings: Settings, table: PriceTable, label: str, name: str, entry: ModelEntry, place: UpstreamEntry
) -> Upstream:
    addresses = {
        "openai": settings.openai_base_url,
        "anthropic": settings.anthropic_base_url,
        "ollama": settings.ollama_base_url,
    }
    model, base_url = place.model or name, place.base_url or addresses.get(place.provider, "")
    return Upstream(
        label=label,
        provider=place.provider,
        model=model,
        weight=place.weight,
        base_url=base_url,
        api_key=settings.key_of(place),
        account=place.account or ("" if place.base_url else place.provider),
        price=price_of(table, name, place.provider, model, base_url, entry.price),
    )
