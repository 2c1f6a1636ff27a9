from fastapi import APIRouter, status

from app.api.errors import documented
from app.dependencies import CurrentAdmin, IdempotencyKey, Users, Webhooks
from app.schemas.user import UserCreate, UserRead
from app.schemas.webhook import WebhookSecret
from app.services.idempotency import IdempotentRequest

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    summary="Create user in tenant",
    responses=documented(400, 401, 403, 409, 413, 422, 503),
)
async def create_user(body: UserCreate, _: CurrentAdmin, service: Users, key: IdempotencyKey = None) -> UserRead:
    """The user joins the admin's own tenant, with either role."""
    request = IdempotentRequest.of(key, "POST /admin/users", body.model_dump(mode="json"))
    return UserRead.model_validate(await service.create(body.email, body.password, body.role, request))


@router.get("/webhook-secret", summary="The tenant's webhook secret", responses=documented(401, 403, 503))
async def webhook_secret(admin: CurrentAdmin, users: Users, service: Webhooks) -> WebhookSecret:
    """What webhooks are signed with, as https://www.standardwebhooks.com describes."""
    await users.me()  # the token alone does not say that its user still is an admin
    return WebhookSecret(secret=service.secret_of(admin.tenant_id))
