"""The `Link` header of a list (RFC 8288)."""

from urllib.parse import urlencode

from fastapi import Request, Response

from app.services.pagination import Page

# Where the page begins; the cursor takes their place.
POSITION = ("skip", "cursor")


def link_next(request: Request, response: Response, page: Page) -> None:
    """Point at the next page by keyset, keeping everything else that the caller asked with.

    The reference is relative: the Host header is the caller's to invent.
    """
    if page.next_cursor:
        query = [(name, value) for name, value in request.query_params.multi_items() if name not in POSITION]
        query.append(("cursor", page.next_cursor))
        response.headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
