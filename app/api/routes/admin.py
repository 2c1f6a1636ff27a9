from datetime import timedelta

from fastapi import APIRouter, Request, Response, status

from app.api.errors import documented
from app.api.pagination import link_next
from app.api.parameters import AuditNarrowed, IdempotencyKey, Paging, PathId
from app.api.routing import CallerFirst
from app.dependencies import Audit, Invites, UserAdmin, WebhookSecretOfTenant
from app.messages.idempotency import IdempotentRequest
from app.schemas.audit import AuditEntryRead
from app.schemas.invite import InviteCreate, InviteCreated, InviteRead
from app.schemas.user import UserCreate, UserRead, UserUpdate
from app.schemas.webhook import WebhookSecret

router = APIRouter(prefix="/admin", tags=["admin"], route_class=CallerFirst)


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    summary="Create user in tenant",
    responses=documented(400, 401, 403, 409, 413, 422, 503),
)
async def create_user(body: UserCreate, service: UserAdmin, key: IdempotencyKey = None) -> UserRead:
    """The user joins the admin's own tenant, with either role."""
    # Nothing of a password is kept but its slow hash: another one in a repeated request is not noticed.
    request = IdempotentRequest.of(key, "POST /admin/users", body.model_dump(mode="json", exclude={"password"}))
    return UserRead.model_validate(await service.create(body.email, body.password, body.role, request))


@router.patch(
    "/users/{id}",
    summary="Change a user's role, disable it",
    responses=documented(400, 401, 403, 404, 409, 413, 422, 503),
)
async def change_user(user_id: PathId, body: UserUpdate, service: UserAdmin) -> UserRead:
    """In force at the user's next request. The last admin can be neither demoted nor disabled."""
    return UserRead.model_validate(await service.change(user_id, body.role, body.disabled))


@router.delete(
    "/users/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a user",
    responses=documented(401, 403, 404, 409, 422, 503),
)
async def delete_user(user_id: PathId, service: UserAdmin) -> None:
    """With its messages, conversations, sessions and keys; what it used stays in `/usage`. Not the last admin."""
    await service.delete(user_id)


@router.post(
    "/invites",
    status_code=status.HTTP_201_CREATED,
    summary="Invite an email",
    responses=documented(400, 401, 403, 409, 413, 422, 503),
)
async def create_invite(body: InviteCreate, service: Invites) -> InviteCreated:
    """Its `token` goes into `invite_token` of `POST /register`. Another invite of the email takes its place."""
    made = await service.create(body.email, timedelta(hours=body.expires_in_hours))
    return InviteCreated(**InviteRead.model_validate(made.row).model_dump(), token=made.token)


@router.get("/invites", summary="List open invites (paginated)", responses=documented(401, 403, 422, 503))
async def list_invites(service: Invites, page: Paging, request: Request, response: Response) -> list[InviteRead]:
    """Those that are neither used nor expired, newest first."""
    found = await service.list(page)
    link_next(request, response, found)
    return [InviteRead.model_validate(row) for row in found.rows]


@router.delete(
    "/invites/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Take an invite back",
    responses=documented(401, 403, 404, 422, 503),
)
async def revoke_invite(invite_id: PathId, service: Invites) -> None:
    await service.revoke(invite_id)


@router.get("/audit-log", summary="The audit log (paginated)", responses=documented(401, 403, 422, 503))
async def audit_log(
    service: Audit, page: Paging, narrowed: AuditNarrowed, request: Request, response: Response
) -> list[AuditEntryRead]:
    """Who did what in the tenant, newest first. Entries are never changed and go with the tenant alone."""
    found = await service.list(page, narrowed)
    link_next(request, response, found)
    return [AuditEntryRead.model_validate(row) for row in found.rows]


@router.get("/webhook-secret", summary="The tenant's webhook secret", responses=documented(401, 403, 503))
async def webhook_secret(service: WebhookSecretOfTenant) -> WebhookSecret:
    """What webhooks are signed with, as https://www.standardwebhooks.com describes. That it was read is noted."""
    return WebhookSecret(secret=await service.read())


@router.post("/webhook-secret", summary="Replace the tenant's webhook secret", responses=documented(401, 403, 503))
async def replace_webhook_secret(service: WebhookSecretOfTenant) -> WebhookSecret:
    """For 24 hours webhooks carry a signature with the old secret too; replaced twice, the old one is gone at once."""
    return WebhookSecret(secret=await service.replace())
