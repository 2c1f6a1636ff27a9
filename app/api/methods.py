"""Which methods a path has. FastAPI makes a route of each, and only asks the first one for an `Allow` header."""

from starlette.routing import Match, Route
from starlette.types import Scope


def allowed_methods(scope: Scope) -> str:
    """The value of `Allow` for the request's path, whatever its method."""
    found: set[str] = set()
    for route in scope["app"].router.routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    if not found or "GET" in found:  # no route: it is one of the packaged files
        found |= {"GET", "HEAD"}
    return ", ".join(sorted(found | {"OPTIONS"}))
