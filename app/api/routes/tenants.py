from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status

from app.api.errors import documented
from app.api.pagination import link_next
from app.core.errors import PermissionDenied
from app.dependencies import LIMITED_BY_ADDRESS, CurrentAdmin, Paging, Tenants, Users
from app.schemas.tenant import TenantCreate, TenantCreated
from app.schemas.user import UserRead
from app.services.tenant_service import FirstAdmin

router = APIRouter(tags=["tenants"])


@router.post(
    "/create-tenant",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    summary="Create a new tenant",
    responses=documented(400, 409, 413, 422, 429, 503),
    dependencies=[LIMITED_BY_ADDRESS],
)
async def create_tenant(body: TenantCreate, service: Tenants) -> TenantCreated:
    """With `admin`, the tenant's first admin is created in the same transaction: both or neither."""
    first_admin = FirstAdmin(body.admin.email, body.admin.password) if body.admin else None
    tenant, admin = await service.create(body.name, first_admin)
    return TenantCreated(
        id=tenant.id,
        name=tenant.name,
        created_at=tenant.created_at,
        admin=UserRead.model_validate(admin) if admin else None,
    )


@router.get(
    "/tenants/{id}/users",
    summary="List users in tenant",
    responses=documented(401, 403, 422, 503),
)
async def list_users(
    tenant_id: Annotated[str, Path(alias="id", max_length=100)],
    admin: CurrentAdmin,
    service: Users,
    page: Paging,
    request: Request,
    response: Response,
) -> list[UserRead]:
    """For admins of the tenant; any other id, real or made up, is 403."""
    if tenant_id != admin.tenant_id:
        raise PermissionDenied
    found = await service.list(page)
    link_next(request, response, found)
    return [UserRead.model_validate(row) for row in found.rows]
