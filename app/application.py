"""The application: its factory and its lifespan."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Scope

from app import __version__
from app.api.console import install_console
from app.api.docs import install_docs_policy, install_front_page
from app.api.errors import install_error_handlers, refusal
from app.api.http.bodies import BodiesInFlight
from app.api.http.client_address import ClientAddress
from app.api.http.cors import CrossOrigin
from app.api.http.request_bounds import RequestBounds
from app.api.http.request_context import RequestContextMiddleware
from app.api.http.response_headers import ResponseHeaders
from app.api.http.trusted_hosts import TrustedHosts
from app.api.openapi import CONTACT, DESCRIPTION, LICENSE, SERVERS, SUMMARY, TAGS, install_openapi
from app.api.routes import (
    admin,
    api_keys,
    auth,
    conversations,
    documents,
    health,
    messages,
    models,
    providers,
    search,
    tenants,
    usage,
    well_known,
)
from app.api.v1 import embeddings
from app.api.v1 import models as v1_models
from app.api.v1.anthropic import routes as anthropic
from app.api.v1.chat import routes as chat
from app.api.v1.chat import stored as stored_chats
from app.api.v1.responses import conversations as conversations_of_responses
from app.api.v1.responses import routes as responses
from app.container import Container
from app.core.config import Settings, get_settings
from app.core.errors import AppError
from app.core.logging import configure_logging
from app.core.settings.misspelt import misspelt_here
from app.core.settings.openings import openings
from app.observability.lifespan import observed
from app.regions import open_containers

# With SHUTDOWN_SECONDS it is within what an orchestrator waits after SIGTERM (docker-compose.yml).
DRAIN_SECONDS = 20
# A request leaves almost no cycles behind: collect the young ones seldom.
GC_THRESHOLDS = (20_000, 20, 20)
# Its spans would hold what people search for; ours are made in the request's context (docs/adr/0033).
NOT_FASTAPIS: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

logger = structlog.get_logger()


ROUTES: tuple[APIRouter, ...] = tuple(
    module.router
    for module in (
        messages,
        models,
        conversations,
        documents,
        search,
        auth,
        api_keys,
        tenants,
        admin,
        providers,
        usage,
        anthropic,
        chat,
        responses,
        conversations_of_responses,
        stored_chats,
        embeddings,
        v1_models,
        well_known,
        health,
    )
)


def create_app(
    settings: Settings | None = None, routes: Sequence[APIRouter] = ROUTES, *, works: bool = False
) -> FastAPI:
    """The ASGI application; it opens nothing before its lifespan starts. `works`: it is a worker, too."""
    settings = settings or get_settings()
    configure_logging(settings)
    app = (FastAPIOffline if settings.docs_enabled else partial(FastAPI, openapi_url=None))(
        title="Multi-Tenant LLM SaaS Backend",
        version=__version__,
        summary=SUMMARY,
        description=DESCRIPTION,
        contact=CONTACT,
        license_info=LICENSE,
        servers=SERVERS,
        openapi_tags=TAGS,
        lifespan=lifespan,
        telemetry=NOT_FASTAPIS,
        redirect_slashes=False,  # it would redirect to whatever the Host header names
    )
    app.state.settings = settings
    app.state.works = works
    app.state.regions = None
    app.state.on_ready = lambda: None
    for router in routes:
        # Not include_router: it keeps each router as a level of its own, which every request would walk.
        app.router.routes.extend(router.routes)
    install_error_handlers(app)
    install_openapi(app)
    install_docs_policy(app)
    if settings.docs_enabled and settings.environment == "development":
        install_front_page(app)
    if settings.console_enabled:
        install_console(app)
    if settings.cors_origins:
        app.add_middleware(CrossOrigin, origins=settings.cors_origins)

    def refuse(scope: Scope, reason: int | AppError) -> ASGIApp:
        # Made outside CORS, and to be readable by the pages that it lets in all the same.
        problem = refusal(scope, reason)
        return CrossOrigin(problem, settings.cors_origins) if settings.cors_origins else problem

    app.add_middleware(
        RequestContextMiddleware,
        bounds=RequestBounds(
            settings.max_body_bytes,
            TrustedHosts(settings.trusted_hosts) if settings.trusted_hosts else None,
            settings.document_max_bytes,
            settings.v1_max_body_bytes,
        ),
        client_address=ClientAddress(settings.trusted_proxies),
        on_error=refuse,
        headers=ResponseHeaders(https_only=settings.environment == "production"),
        bodies=BodiesInFlight(settings.v1_bodies_bytes),
    )
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the process needs, in order; close it in reverse."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(observed(settings))
        opened = await stack.enter_async_context(open_containers(settings, works=app.state.works))
        containers = opened.containers
        app.state.container, app.state.regions = containers[0], opened.regions
        for container in containers:
            stack.push_async_callback(container.background.stop)
            container.background.start()
        # While the rest still runs: what streams is written, and its readers are served, to the end.
        stack.push_async_callback(_drain, containers)
        # What start-up made lives for ever: keep the collector from walking it at every pass.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for name, meant in misspelt_here().items():
            logger.warning("unknown_setting", name=name, near=meant)
        for opening in openings(settings):
            logger.warning("open_in_production", opening=opening)
        llm = containers[0].shared.llm
        llm.tell()
        logger.info("ready", environment=settings.environment, llm_provider=llm.provider_name)
        app.state.on_ready()
        yield


async def _drain(containers: list[Container]) -> None:
    await asyncio.gather(*(container.engine.drain(DRAIN_SECONDS) for container in containers))
