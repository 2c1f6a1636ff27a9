"""`python main.py` serves; `uvicorn main:app` finds the application here."""

import sys

import structlog

from app.application import create_app
from app.server import install
from app.serving import serve, settings_or_exit
from app.welcome import welcome

app = create_app(settings_or_exit())
if not install():
    structlog.get_logger().warning("http_without_bounds", remedy="uvicorn --http app.server:Protocol")

if __name__ == "__main__":
    if app.state.settings.environment == "development":  # in production it would be lines of a log, with a password
        app.state.on_ready = lambda: print(welcome(app.state.settings), file=sys.stderr, flush=True)  # stdout: the log
    serve(app)
