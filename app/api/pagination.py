"""The `Link` header of a list (RFC 8288)."""

from fastapi import Request, Response

from app.services.pagination import Page


def link_next(request: Request, response: Response, page: Page) -> None:
    """Point at the next page by keyset, keeping the caller's other parameters."""
    if page.next_cursor:
        url = request.url.remove_query_params("skip").include_query_params(cursor=page.next_cursor)
        response.headers["Link"] = f'<{url}>; rel="next"'
