"""The kind of route that knows its caller before it reads the body."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.dependencies import get_current_user


class CallerFirst(APIRoute):
    """FastAPI reads and parses a body before it solves any dependency, a megabyte of who has no credential too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None or not _needs_caller(self.dependant):
            return handle

        async def identify_and_handle(request: Request) -> Response:
            await get_current_user(request)
            return await handle(request)

        return identify_and_handle


def _needs_caller(dependant: Dependant) -> bool:
    return dependant.call is get_current_user or any(_needs_caller(each) for each in dependant.dependencies)
