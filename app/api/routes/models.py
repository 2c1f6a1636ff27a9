from typing import Annotated

from fastapi import APIRouter, Path

from app.api.errors import documented
from app.api.routing import CallerFirst
from app.dependencies import Models
from app.llm.catalogue import Model
from app.schemas.model import ModelRead

router = APIRouter(prefix="/models", tags=["models"], route_class=CallerFirst)
# A name may hold slashes.
Name = Annotated[str, Path(alias="id", min_length=1, max_length=255)]


@router.get("", summary="List models", responses=documented(401, 403, 503))
async def list_models(service: Models) -> list[ModelRead]:
    """What the caller may ask for: what its tenant allows and, with an API key, what the key was made for."""
    models, default = await service.list()
    return [_shown(model, default=model.name == default) for model in models]


@router.get("/{id:path}", summary="Get a model", responses=documented(401, 403, 404, 422, 503))
async def get_model(name: Name, service: Models) -> ModelRead:
    """The same 404 for one that is not there and for one that the caller may not use."""
    model, default = await service.find(name)
    return _shown(model, default=default)


def _shown(model: Model, *, default: bool) -> ModelRead:
    return ModelRead.model_validate(
        {
            "id": model.name,
            "description": model.description,
            "default": default,
            "context_tokens": model.context_tokens,
            "max_output_tokens": model.max_output_tokens,
            "capabilities": sorted(model.capabilities),
            "price": model.price,
        }
    )
