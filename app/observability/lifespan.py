"""Metrics and traces for as long as the process serves: the one thing that an entry point enters."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app import __version__
from app.core.config import Settings
from app.observability.spenders import SPENDERS


@asynccontextmanager
async def observed(settings: Settings) -> AsyncIterator[None]:
    """As the settings say; raises `UnusableSetting`. What is off is not even imported."""
    async with AsyncExitStack() as stack:
        if settings.metrics_port:
            from app.observability.shared_counting import DIRECTORY, shared_directory

            shared = shared_directory()
            if shared is not None:
                os.environ[DIRECTORY] = str(shared)  # the client library looks when it is imported
            from app.observability.exposition import Exposition

            exposition = Exposition(settings.metrics_host, settings.metrics_port, __version__, shared)
            exposition.open()
            SPENDERS.shown = settings.metrics_top_tenants
            stack.push_async_callback(asyncio.to_thread, exposition.close)
        if settings.traces:
            from app.observability.export import Export

            export = Export(settings, __version__)
            export.open()
            stack.push_async_callback(asyncio.to_thread, export.close)
        yield
