"""The `Link` header of a list (RFC 8288)."""

from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from app.db.pagination import Page, PagedRow

# Where the page begins; the cursor takes their place.
POSITION = {"skip", "cursor"}
_known: dict[str, frozenset[str]] = {}
"""By the path of a list; a route cannot be a key."""


def link_next(request: Request, response: Response, page: Page[PagedRow]) -> None:
    """Point at the next page by keyset, keeping every other parameter of the list that the caller asked with.

    The reference is relative: the Host header is the caller's to invent.
    """
    if page.next_cursor:
        kept = _narrowing(request.scope["route"])
        query = [(name, value) for name, value in request.query_params.multi_items() if name in kept]
        query.append(("cursor", page.next_cursor))
        response.headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'


def _narrowing(route: APIRoute) -> frozenset[str]:
    """The query parameters that a list knows, but for its position: what it does not know has no effect."""
    if route.path not in _known:
        fields = get_flat_params(route.dependant)
        _known[route.path] = (
            frozenset(field.alias for field in fields if isinstance(field.field_info, Query)) - POSITION
        )
    return _known[route.path]
