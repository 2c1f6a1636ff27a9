from typing import Annotated

from pydantic import Field, StringConstraints

from app.schemas.base import ReadModel

MAX_ALLOWED = 1000
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
AllowedModels = Annotated[list[ModelName], Field(max_length=MAX_ALLOWED)]


class ModelRates(ReadModel):
    """Micro-USD for a million tokens. `cached`: input that the provider had in its cache; `written`: that it put there.

    null: as `input`.
    """

    input: int
    output: int
    cached: int | None
    written: int | None


class ModelTier(ModelRates):
    """Of calls with more than `above` tokens of input, all of them."""

    above: int


class ModelPrice(ModelRates):
    tiers: list[ModelTier] | None


class ModelRead(ReadModel):
    """What may be asked for by `id`. `context_tokens`: what it reads and writes in all; null: nobody has said.

    `price`: of the dearest place that answers under this name; null: unknown.
    """

    id: str
    description: str
    default: Annotated[bool, Field(description="Whether it answers where a message names no model.")]
    context_tokens: int | None
    max_output_tokens: int
    capabilities: list[str]
    price: ModelPrice | None
