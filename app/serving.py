"""How a process serves an application: uvicorn with our protocol, until a signal ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app.core.config import Settings, get_settings
from app.server import Protocol

# An orchestrator that sends SIGTERM waits for longer than this and DRAIN_SECONDS together (docker-compose.yml).
SHUTDOWN_SECONDS = 30
LOOK_SECONDS = 0.01


def settings_or_exit(read: Callable[[], Settings] = get_settings) -> Settings:
    try:
        return read()
    except ValidationError as error:
        # The values stay out of it: they are secrets.
        lines = [f"  {'.'.join(map(str, item['loc'])).upper() or 'settings'}: {item['msg']}" for item in error.errors()]
        raise SystemExit("The settings are not usable:\n" + "\n".join(lines)) from None


def serve(app: FastAPI) -> None:
    """Serve the application where its settings say, until a signal ends it."""
    settings: Settings = app.state.settings
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it believes X-Forwarded-For from loopback; TRUSTED_PROXIES decides here
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


class _Unsignalled(uvicorn.Server):
    """Signals are the process's own: it does more than serve."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served_on_loopback(app: FastAPI) -> AsyncIterator[str]:
    """Serve the application in this loop for the block, on a port that is free; its URL.

    Raises `RuntimeError` if it does not start; its log says why.
    """
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _Unsignalled(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if serving.done():
                raise RuntimeError("the service did not start")
            await asyncio.sleep(LOOK_SECONDS)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
