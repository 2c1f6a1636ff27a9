"""The `Link` header of a list (RFC 8288)."""

from urllib.parse import urlencode

from fastapi import Request, Response

from app.services.pagination import Page

KEPT = {"limit", "user_id", "conversation_id", "status", "since", "q", "action", "actor_id", "target_id"}


def link_next(request: Request, response: Response, page: Page) -> None:
    """Point at the next page by keyset, keeping the caller's limit and filters.

    The reference is relative: the Host header is the caller's to invent.
    """
    if page.next_cursor:
        query = {name: value for name, value in request.query_params.items() if name in KEPT}
        query["cursor"] = page.next_cursor
        response.headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
