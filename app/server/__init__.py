"""How the service speaks HTTP/1.1: uvicorn's protocol, with bounds on what does not arrive and on what is not read."""

import sys

from uvicorn.config import HTTP_PROTOCOLS

from app.server.protocol import Protocol

__all__ = ["Protocol", "install"]


def install() -> bool:
    """Make it the one that uvicorn chooses by itself; False if this process's uvicorn has chosen before.

    `uvicorn main:app` imports the application first. In the processes of its `--workers` and `--reload` it chooses
    first: those need `--http app.server:Protocol`.
    """
    HTTP_PROTOCOLS["auto"] = f"{Protocol.__module__}:{Protocol.__name__}"
    return "uvicorn.protocols.http.auto" not in sys.modules
