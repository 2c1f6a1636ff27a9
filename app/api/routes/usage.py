from typing import Annotated

from fastapi import APIRouter, Query

from app.api.errors import documented
from app.api.parameters import PathId, UsageFrom, UsageTo
from app.api.routing import CallerFirst
from app.dependencies import BudgetAdmin, Budgets, Usage
from app.models import PeriodUnit
from app.schemas.usage import BudgetRead, BudgetUpdate, UsageRead
from app.services.budget_service import Holder
from app.services.usage_service import Grouping

router = APIRouter(tags=["usage"], route_class=CallerFirst)

Period = Annotated[PeriodUnit, Query()]


@router.get("/usage", summary="Usage of the tenant", responses=documented(401, 403, 422, 503))
async def usage(
    service: Usage,
    since: UsageFrom,
    until: UsageTo,
    group_by: Annotated[Grouping, Query()] = "day",
) -> list[UsageRead]:
    """Messages, tokens and cost, by day (UTC), user, model, or day and model; deleted messages count."""
    return [UsageRead.model_validate(row) for row in await service.usage(since, until, group_by)]


@router.get("/admin/budget", summary="The tenant's budget", responses=documented(401, 403, 422, 503))
async def read_budget(service: Budgets, period: Period = PeriodUnit.MONTH) -> BudgetRead:
    """What the tenant may spend in a day, a week or a calendar month (UTC), and did."""
    return BudgetRead.model_validate(await service.get(period=period))


@router.put("/admin/budget", summary="Set the tenant's budget", responses=documented(400, 401, 403, 413, 422, 503))
async def set_budget(body: BudgetUpdate, service: BudgetAdmin) -> BudgetRead:
    """Messages that it does not cover are refused with 402 before a provider is called. Each period has its own."""
    return BudgetRead.model_validate(await service.set(body.limit_micro_usd, period=body.period))


@router.get("/admin/users/{id}/budget", summary="A user's budget", responses=documented(401, 403, 404, 422, 503))
async def read_user_budget(user_id: PathId, service: Budgets, period: Period = PeriodUnit.MONTH) -> BudgetRead:
    return BudgetRead.model_validate(await service.get(Holder(user_id), period))


@router.put(
    "/admin/users/{id}/budget",
    summary="Set a user's budget",
    responses=documented(400, 401, 403, 404, 413, 422, 503),
)
async def set_user_budget(user_id: PathId, body: BudgetUpdate, service: BudgetAdmin) -> BudgetRead:
    """It holds beside the tenant's: a message needs room in both."""
    return BudgetRead.model_validate(await service.set(body.limit_micro_usd, Holder(user_id), body.period))


@router.get("/admin/api-keys/{id}/budget", summary="An API key's budget", responses=documented(401, 403, 404, 422, 503))
async def read_key_budget(key_id: PathId, service: Budgets, period: Period = PeriodUnit.MONTH) -> BudgetRead:
    return BudgetRead.model_validate(await service.get(Holder(key_id=key_id), period))


@router.put(
    "/admin/api-keys/{id}/budget",
    summary="Set an API key's budget",
    responses=documented(400, 401, 403, 404, 413, 422, 503),
)
async def set_key_budget(key_id: PathId, body: BudgetUpdate, service: BudgetAdmin) -> BudgetRead:
    """It holds beside its user's and the tenant's, and for the keys that take its place."""
    return BudgetRead.model_validate(await service.set(body.limit_micro_usd, Holder(key_id=key_id), body.period))
