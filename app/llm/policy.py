"""Which models a caller may use: those that its tenant allows and, with an API key, that the key was made for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import ModelNotFound
from app.core.items import Item, Options
from app.llm.base import Call
from app.llm.catalogue import Catalogue, Model
from app.llm.needs import fitted


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """A tenant's. `allowed`: public names, None: all; `default`: the one that answers where none is named.

    `keeps_nothing`: no text of what is asked, nor of what is answered, is to be kept anywhere.
    """

    allowed: frozenset[str] | None = None
    default: str | None = None
    keeps_nothing: bool = False

    @classmethod
    def of(cls, stored: Sequence[Any]) -> "ModelPolicy":
        """From `allowed_models`, `default_model` and whether nothing is kept, as they are stored."""
        allowed, default, keeps_nothing = stored
        return cls(None if allowed is None else frozenset(allowed), default, bool(keeps_nothing))

    def within(self, of_key: frozenset[str] | None) -> frozenset[str] | None:
        """What the tenant and a key of it both allow."""
        if of_key is None or self.allowed is None:
            return self.allowed if of_key is None else of_key
        return self.allowed & of_key


ANYTHING = ModelPolicy()


def call_to(model: Model, policy: ModelPolicy, items: Sequence[Item], options: Options, tenant_id: str) -> Call:
    """What a model is asked for a tenant, as the model takes it, and what may answer in its place."""
    return Call(items, tenant_id=tenant_id, model=model.name, options=fitted(model, options), allowed=policy.allowed)


def usable(catalogue: Catalogue, policy: ModelPolicy, of_key: frozenset[str] | None = None) -> list[Model]:
    """In the order of the settings. `of_key`: what an API key was made for; None: what the tenant may use."""
    allowed = policy.within(of_key)
    return [model for model in catalogue.listed if allowed is None or model.name in allowed]


def chosen(catalogue: Catalogue, name: str, policy: ModelPolicy, of_key: frozenset[str] | None = None) -> Model:
    """The model of this name; "": the tenant's default, else the service's, else the first that the caller may use.

    Raises:
        ModelNotFound: there is none, or none for the caller.
    """
    allowed = policy.within(of_key)
    for wanted in (name,) if name else (policy.default, catalogue.default.name):
        model = catalogue.find(wanted) if wanted else None
        if model is not None and (allowed is None or wanted in allowed):
            return model
    if not name and (left := usable(catalogue, policy, of_key)):
        return left[0]
    raise ModelNotFound
