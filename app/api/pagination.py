"""The `Link` header of a list (RFC 8288)."""

from urllib.parse import urlencode

from fastapi import Request, Response

from app.services.pagination import Page


def link_next(request: Request, response: Response, page: Page) -> None:
    """Point at the next page by keyset, keeping the caller's `limit`.

    The reference is relative: the Host header is the caller's to invent.
    """
    if page.next_cursor:
        query = {"cursor": page.next_cursor}
        if limit := request.query_params.get("limit"):
            query["limit"] = limit
        response.headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
