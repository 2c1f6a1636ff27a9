"""CORS: which browsers' pages may call (`CORS_ORIGINS`). Bearer tokens need no credentials mode, so none is allowed."""

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send


class CrossOrigin(CORSMiddleware):
    """Starlette's, except that an origin which is not listed learns nothing: it is served as if it had named none."""

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],  # tracing adds its own, and a header is no credential that the page does not have
            expose_headers=[
                *("Age", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Cache", "X-Request-ID"),
                *("OpenAI-Processing-Ms", "Retry-After-Ms", "X-Should-Retry"),
                *(
                    f"X-RateLimit-{what}-{of}"
                    for what in ("Limit", "Remaining", "Reset")
                    for of in ("Requests", "Tokens")
                ),
            ],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
            if origin is not None and not self.is_allowed_origin(origin.decode("latin-1")):
                await self.simple_response(scope, receive, send, request_headers=Headers())
                return
        await super().__call__(scope, receive, send)
