from typing import Annotated

from fastapi import APIRouter, Query

from app.api.errors import documented
from app.api.parameters import PathId, UsageFrom, UsageTo
from app.api.routing import CallerFirst
from app.dependencies import BudgetAdmin, Budgets, Usage
from app.schemas.usage import BudgetRead, BudgetUpdate, UsageRead
from app.services.usage_service import Grouping

router = APIRouter(tags=["usage"], route_class=CallerFirst)


@router.get("/usage", summary="Usage of the tenant", responses=documented(401, 403, 422, 503))
async def usage(
    service: Usage,
    since: UsageFrom,
    until: UsageTo,
    group_by: Annotated[Grouping, Query()] = "day",
) -> list[UsageRead]:
    """Messages, tokens and cost, by day (UTC), user or model; deleted messages count."""
    return [UsageRead.model_validate(row) for row in await service.usage(since, until, group_by)]


@router.get("/admin/budget", summary="The tenant's budget", responses=documented(401, 403, 503))
async def read_budget(service: Budgets) -> BudgetRead:
    """What the tenant may spend in a calendar month (UTC), and did."""
    return BudgetRead.model_validate(await service.get())


@router.put("/admin/budget", summary="Set the tenant's budget", responses=documented(400, 401, 403, 413, 422, 503))
async def set_budget(body: BudgetUpdate, service: BudgetAdmin) -> BudgetRead:
    """Messages that it does not cover are refused with 402 before a provider is called."""
    return BudgetRead.model_validate(await service.set(body.limit_micro_usd))


@router.get("/admin/users/{id}/budget", summary="A user's budget", responses=documented(401, 403, 404, 422, 503))
async def read_user_budget(user_id: PathId, service: Budgets) -> BudgetRead:
    return BudgetRead.model_validate(await service.get(user_id))


@router.put(
    "/admin/users/{id}/budget",
    summary="Set a user's budget",
    responses=documented(400, 401, 403, 404, 413, 422, 503),
)
async def set_user_budget(user_id: PathId, body: BudgetUpdate, service: BudgetAdmin) -> BudgetRead:
    """It holds beside the tenant's: a message needs room in both."""
    return BudgetRead.model_validate(await service.set(body.limit_micro_usd, user_id))
