"""A response of many JSON lines, made while it is sent."""

import asyncio
from collections.abc import AsyncGenerator

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.core.errors import AppError

logger = structlog.get_logger()


class LineStream(Response):
    """Sends each piece when the client has taken the one before; on an error the connection is cut.

    Not a StreamingResponse: that cancels what it sends when the client leaves, a transaction in its middle included.
    Here no further piece is asked for.
    """

    media_type = "application/x-ndjson"

    def __init__(self, pieces: AsyncGenerator[bytes], filename: str) -> None:
        self._pieces = pieces
        self._gone = False
        disposition = f'attachment; filename="{filename}"'
        super().__init__(headers={"Cache-Control": "no-store", "Content-Disposition": disposition})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(self._notice_when_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if self._gone:
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except AppError as error:
            # The status is sent. Without its end the server closes the connection, so that nobody takes it for whole.
            logger.warning("stream_cut", route=scope["route"].path, error=type(error).__name__)
        finally:
            watch.cancel()
            await self._pieces.aclose()

    async def _notice_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
