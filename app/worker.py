"""`python -m app.worker`: answers the background messages that wait for workers, and does the shared work.

It listens as the service does, for probes alone: `/health` and `/health/ready`.
"""

from fastapi import FastAPI

from app.api.routes import health
from app.application import create_app
from app.core.config import Settings
from app.serving import serve, settings_or_exit


def create_worker(settings: Settings) -> FastAPI:
    return create_app(
        settings.model_copy(update={"docs_enabled": False, "console_enabled": False}), [health.router], works=True
    )


if __name__ == "__main__":
    serve(create_worker(settings_or_exit()))
