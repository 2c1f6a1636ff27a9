"""The pages of /docs and /redoc: each may do what the packaged page needs, and nothing else."""

import base64
import hashlib
import re

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_SWAGGER = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# ReDoc writes its styles as it draws, and searches in a worker made from a blob. Its logo, from a host of its maker's,
# stays out: nobody else learns who reads these pages.
_REDOC = _SWAGGER.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'; worker-src blob:")


def install_docs_policy(app: FastAPI) -> None:
    """Wrap the routes that fastapi-offline has made."""
    for route in app.router.routes:
        if isinstance(route, Mount):
            route.app = _Revalidated(route.app)
        elif isinstance(route, Route) and route.path in ("/docs", "/docs/oauth2-redirect"):
            route.app = _Page(route.app, _SWAGGER)
        elif isinstance(route, Route) and route.path == "/redoc":
            route.app = _Page(route.app, _REDOC)


def install_front_page(app: FastAPI) -> None:
    """Lead who opens the address alone to the documentation."""

    async def lead_to_docs(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")

    app.router.add_route("/", lead_to_docs, include_in_schema=False)


class _Page:
    """HTML that comes in one piece; its inline scripts are allowed by their hashes, which the root path changes."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}

        async def send_with_policy(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            allowed = self.policy.format(hashes=_hashes(message["body"]))
            policy = (b"content-security-policy", allowed.encode())
            # Only a document has use for it: a page that it opens, or that opens it, holds no handle on it.
            opener = (b"cross-origin-opener-policy", b"same-origin")
            await send({**start, "headers": [*start["headers"], policy, opener]})
            await send(message)

        await self.app(scope, receive, send_with_policy)


class _Revalidated:
    """Megabytes that change with a release alone: kept by the browser, asked about by ETag."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_caching(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"no-cache")]
            await send(message)

        await self.app(scope, receive, send_with_caching)


def _hashes(html: bytes) -> str:
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(html)]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
