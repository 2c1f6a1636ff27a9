from fastapi import APIRouter

from app.api.errors import documented
from app.dependencies import Health
from app.schemas.health import Health as HealthRead
from app.schemas.health import Readiness

router = APIRouter(tags=["health"])


@router.get("/health", summary="Liveness check", responses=documented(431))
async def health() -> HealthRead:
    """Answers as long as the process lives; it asks nothing of the database."""
    return HealthRead()


@router.get("/health/ready", summary="Readiness check", responses=documented(431, 503))
async def ready(service: Health) -> Readiness:
    """Answers 200 while a transaction that can write opens under row-level security, within two seconds."""
    provider = await service.ready()
    return Readiness(
        llm_provider=provider,
        replica=service.replica,
        rate_limits=service.rate_limits,
        cache=service.cache,
        background=service.background,
    )
