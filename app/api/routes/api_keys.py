from datetime import timedelta

from fastapi import APIRouter, Request, Response, status

from app.api.errors import documented
from app.api.key_services import Rotation
from app.api.pagination import link_next
from app.api.parameters import IdempotencyKey, Paging, PathId
from app.api.routing import CallerFirst
from app.dependencies import ApiKeys
from app.messages.idempotency import IdempotentRequest
from app.schemas.api_key import ApiKeyCreate, ApiKeyCreated, ApiKeyRead, ApiKeyRotate

router = APIRouter(prefix="/api-keys", tags=["api keys"], route_class=CallerFirst)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create an API key",
    responses=documented(400, 401, 403, 409, 413, 422, 503),
)
async def create_api_key(body: ApiKeyCreate, service: ApiKeys) -> ApiKeyCreated:
    """For a machine that acts as the caller, within the scopes; sent like an access token. It is shown this once."""
    made = await service.create(body.name, body.scopes, body.expires_at, body.allowed_models)
    return ApiKeyCreated(**ApiKeyRead.model_validate(made.row).model_dump(), key=made.secret)


@router.get("", summary="List API keys (paginated)", responses=documented(401, 403, 422, 503))
async def list_api_keys(service: ApiKeys, page: Paging, request: Request, response: Response) -> list[ApiKeyRead]:
    """The caller's own, for admins the tenant's; newest first."""
    found = await service.list(page)
    link_next(request, response, found)
    return [ApiKeyRead.model_validate(row) for row in found.rows]


@router.delete(
    "/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Revoke an API key",
    responses=documented(401, 403, 404, 422, 503),
)
async def revoke_api_key(key_id: PathId, service: ApiKeys) -> None:
    """It is refused from the next request on."""
    await service.revoke(key_id)


@router.post(
    "/{id}/rotate",
    status_code=status.HTTP_201_CREATED,
    summary="Replace an API key",
    responses=documented(400, 401, 403, 404, 409, 413, 422, 503),
)
async def rotate_api_key(
    key_id: PathId, body: ApiKeyRotate, service: Rotation, key: IdempotencyKey = None
) -> ApiKeyCreated:
    """A new key with the same rights and budgets. The old one ends after `overlap_seconds`; until then both work."""
    request = IdempotentRequest.of(key, "POST /api-keys/{id}/rotate", {"id": key_id, **body.model_dump()})
    made = await service.rotate(key_id, timedelta(seconds=body.overlap_seconds), request)
    return ApiKeyCreated(**ApiKeyRead.model_validate(made.row).model_dump(), key=made.secret)
