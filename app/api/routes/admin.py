from fastapi import APIRouter, status

from app.api.errors import documented
from app.dependencies import CurrentAdmin, Users
from app.schemas.user import UserCreate, UserRead

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    summary="Create user in tenant",
    responses=documented(400, 401, 403, 409, 413, 422, 503),
)
async def create_user(body: UserCreate, _: CurrentAdmin, service: Users) -> UserRead:
    """The user joins the admin's own tenant, with either role."""
    return UserRead.model_validate(await service.create(body.email, body.password, body.role))
