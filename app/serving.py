"""How a process serves an application: uvicorn with our protocol, until a signal ends it."""

from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app.core.config import Settings, get_settings
from app.server import Protocol

# An orchestrator that sends SIGTERM waits for longer than this and DRAIN_SECONDS together (docker-compose.yml).
SHUTDOWN_SECONDS = 30


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
