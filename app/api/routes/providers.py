from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from app.api.errors import documented
from app.api.key_services import ProviderKeyAdmin, ProviderKeys
from app.api.routing import CallerFirst
from app.schemas.provider_key import ProviderKeyRead, ProviderKeySet

router = APIRouter(prefix="/admin/providers", tags=["admin"], route_class=CallerFirst)

ProviderName = Annotated[str, Path(alias="name", max_length=100, examples=["openai"])]
Test = Annotated[bool, Query(description="Ask the provider with it first, and store nothing that it refuses.")]


@router.get("", summary="The tenant's own provider keys", responses=documented(401, 403, 501, 503))
async def list_provider_keys(service: ProviderKeys) -> list[ProviderKeyRead]:
    """By name; of each key the last four characters alone."""
    return [ProviderKeyRead.model_validate(row) for row in await service.list()]


@router.get("/{name}", summary="One of them", responses=documented(401, 403, 404, 422, 501, 503))
async def read_provider_key(name: ProviderName, service: ProviderKeys) -> ProviderKeyRead:
    """404 where the service's own key is used."""
    return ProviderKeyRead.model_validate(await service.get(name))


@router.put(
    "/{name}",
    summary="Set the tenant's own key at a provider",
    responses=documented(400, 401, 403, 404, 413, 422, 501, 502, 503),
)
async def set_provider_key(
    name: ProviderName, body: ProviderKeySet, service: ProviderKeyAdmin, test: Test = True
) -> ProviderKeyRead:
    """`openai` (any compatible server), `anthropic`, or an account of the service's catalogue. From the next message on
    the tenant's calls go there with it.

    It is kept sealed and never shown again.
    """
    row = await service.set(name, body.api_key, body.base_url, test=test)
    return ProviderKeyRead.model_validate(row)


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Take it away",
    responses=documented(401, 403, 404, 422, 501, 503),
)
async def delete_provider_key(name: ProviderName, service: ProviderKeyAdmin) -> None:
    """From the next message on the service's own key is used."""
    await service.delete(name)
