from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.api.errors import documented
from app.api.ndjson import LineStream
from app.api.pagination import link_next
from app.api.parameters import Paging, PathId
from app.api.routing import CallerFirst
from app.callers import bearer_token
from app.core.errors import PermissionDenied
from app.core.principal import Principal
from app.dependencies import (
    LIMITED_BY_ADDRESS,
    AdminSession,
    CurrentAdmin,
    CurrentUser,
    Erasure,
    Export,
    TenantAdmin,
    TenantOfCaller,
    Tenants,
    Users,
)
from app.schemas.base import STORABLE
from app.schemas.tenant import TenantCreate, TenantCreated, TenantSettings, TenantUpdate
from app.schemas.user import UserRead
from app.services.tenant_service import FirstAdmin

router = APIRouter(tags=["tenants"], route_class=CallerFirst)

ConfirmedName = Annotated[
    str, Query(alias="name", max_length=255, description="The tenant's name, to confirm what is erased."), STORABLE
]

EXPORTED = {
    "description": 'One JSON object a line, each with its `type`; the last is `{"type": "end", "counts": {...}}`',
    "content": {LineStream.media_type: {"schema": {"type": "string"}}},
}


@router.post(
    "/create-tenant",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    summary="Create a new tenant",
    responses=documented(400, 401, 409, 413, 422, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def create_tenant(body: TenantCreate, service: Tenants, request: Request) -> TenantCreated:
    """With `admin`, the tenant's first admin is created in the same transaction: both or neither.

    Where `TENANT_CREATION` is `operator`, the operator token is the bearer token.
    """
    first_admin = FirstAdmin(body.admin.email, body.admin.password) if body.admin else None
    tenant, admin = await service.create(body.name, first_admin, bearer_token(request), body.region)
    return TenantCreated(
        id=tenant.id,
        name=tenant.name,
        created_at=tenant.created_at,
        admin=UserRead.model_validate(admin) if admin else None,
    )


@router.get("/tenants/{id}", summary="Get the tenant", responses=documented(401, 403, 422, 503))
async def get_tenant(tenant_id: PathId, caller: CurrentUser, service: TenantOfCaller) -> TenantSettings:
    """The caller's own; any other id, real or made up, is 403."""
    _require_own(tenant_id, caller)
    return TenantSettings.model_validate(await service.get())


@router.patch(
    "/tenants/{id}", summary="Change the tenant's settings", responses=documented(400, 401, 403, 409, 413, 422, 503)
)
async def change_tenant(
    tenant_id: PathId, body: TenantUpdate, admin: AdminSession, service: TenantAdmin
) -> TenantSettings:
    """Its name, who may register, whose messages users see, how long answers are kept for equal prompts; in force at
    the next request. And after how many days messages are deleted, which begins within minutes.
    """
    _require_own(tenant_id, admin)
    return TenantSettings.model_validate(await service.change(body.changes()))


@router.delete(
    "/tenants/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Erase the tenant and all it owns",
    responses=documented(401, 403, 409, 422, 503),
)
async def erase_tenant(tenant_id: PathId, name: ConfirmedName, admin: AdminSession, service: Erasure) -> None:
    """For good, confirmed by its name. From the first moment on nobody gets in any more, the caller included.

    Answers when all is gone. If the answer is lost, or a process dies, the service finishes it by itself.
    """
    _require_own(tenant_id, admin)
    await service.erase(name)


@router.get(
    "/tenants/{id}/export",
    response_class=Response,
    summary="Export all that the tenant owns",
    responses={200: EXPORTED, **documented(401, 403, 422, 503)},
)
async def export_tenant(tenant_id: PathId, admin: AdminSession, service: Export) -> Response:
    """Newest first within each type, without passwords, tokens and their hashes. Without its last line it was cut."""
    _require_own(tenant_id, admin)
    return LineStream(await service.begin(), f"{admin.tenant_id}.ndjson")


@router.get(
    "/tenants/{id}/users",
    summary="List users in tenant",
    responses=documented(401, 403, 422, 503),
)
async def list_users(
    tenant_id: PathId,
    admin: CurrentAdmin,
    service: Users,
    page: Paging,
    request: Request,
    response: Response,
) -> list[UserRead]:
    """For admins of the tenant; any other id, real or made up, is 403."""
    _require_own(tenant_id, admin)
    found = await service.list(page)
    link_next(request, response, found)
    return [UserRead.model_validate(row) for row in found.rows]


def _require_own(tenant_id: str, caller: Principal) -> None:
    if tenant_id != caller.tenant_id:
        raise PermissionDenied
