"""As `app.api.examples`, of models."""

from pydantic import BaseModel

from app.schemas.model import ModelPrice, ModelRead

ANSWERS: tuple[BaseModel, ...] = (
    ModelRead(
        id="mock-echo",
        description="",
        default=True,
        context_tokens=None,
        max_output_tokens=4096,
        capabilities=["images", "json_schema", "reasoning", "sampling", "seed", "tools"],
        price=ModelPrice(input=1_000_000, output=2_000_000, cached=None, written=None, tiers=None),
    ),
)
