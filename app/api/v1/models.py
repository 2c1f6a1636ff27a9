"""The models that the caller may name, as OpenAI's clients list them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from app.api.v1.dependencies import Embedders, Models
from app.api.v1.described import EXAMPLES, answer, errors, listed
from app.core.errors import ModelNotFound

router = APIRouter(prefix="/v1", tags=["openai"])

# A name may hold slashes.
Name = Annotated[str, Path(alias="id", min_length=1, max_length=255)]
# Nobody says when a model was made.
CREATED = 0
EMBEDDER = "embedder"
MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
EXAMPLES["get_v1_model"] = {"id": "mock-echo", "object": "model", "created": CREATED, "owned_by": "mock"}
EXAMPLES["list_v1_models"] = {"object": "list", "data": [EXAMPLES["get_v1_model"]]}


@router.get(
    "/models",
    summary="List models for OpenAI's clients",
    responses={200: answer(listed(MODEL)), **errors(403)},
    response_model=None,
)
async def list_v1_models(service: Models, embedders: Embedders) -> dict[str, Any]:
    """Those that answer and the caller may name, then those that embed."""
    return {"object": "list", "data": await _all(service, embedders)}


@router.get(
    "/models/{id:path}",
    summary="Get a model for OpenAI's clients",
    responses={200: answer(MODEL), **errors(400, 403, 404)},
    response_model=None,
)
async def get_v1_model(name: Name, service: Models, embedders: Embedders) -> dict[str, Any]:
    """The same 404 for one that is not there and for one that the caller may not use."""
    found = next((model for model in await _all(service, embedders) if model["id"] == name), None)
    if found is None:
        raise ModelNotFound
    return found


async def _all(service: Models, embedders: list[str]) -> list[dict[str, Any]]:
    models, _ = await service.list()
    answering = [_shown(model.name, model.upstreams[0].provider) for model in models]
    return answering + [_shown(name, EMBEDDER) for name in embedders]


def _shown(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}
