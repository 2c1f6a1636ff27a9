"""Requests to the service that is looked at: counted, and paced by what it says itself."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from app.core.errors import AppError

SECONDS = 120.0
# A window of a limit is a minute as a rule; what still refuses after some of them will not be let through.
LONGEST_WAIT_SECONDS = 900.0
# What is not there for a moment, a database that fails over, say.
BUSY_TRIES = 5
BUSY_SECONDS = 2.0
AWAY = (502, 503, 504)
GENERATING = ("/messages", "/v1/responses", "/v1/chat/completions", "/v1/messages")


class NotVerified(AppError):
    """Nothing is known: the service, or what stands before it, does not answer as it should."""


class Wire:
    """An HTTP client to one URL. Nothing is remembered between two requests: no cookie, no redirect."""

    def __init__(self, url: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self._client = httpx2.AsyncClient(base_url=url.rstrip("/"), timeout=SECONDS)
        self._tell = tell
        self.url = url
        self.requests = 0
        self.messages = 0
        """That a model was asked to answer."""
        self.waited = 0.0
        """Seconds, for limits and for who was busy."""

    async def close(self) -> None:
        await self._client.aclose()

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The answer, after as many waits as `Retry-After` asks for.

        Raises:
            NotVerified: nobody answers, or the limit refuses for good.
        """
        busy = 0
        while True:
            answer = await self._send(method, path, options)
            if answer.status_code == 429:
                await self._wait(_seconds_of(answer), "its limits")
            elif answer.status_code in AWAY and not _generates(method, path):
                if busy == BUSY_TRIES and answer.status_code != 503:
                    raise NotVerified(f"{self.url} is away: {said(answer)}")
                if busy == BUSY_TRIES:
                    return answer
                busy += 1
                await self._wait(min(_seconds_of(answer), BUSY_SECONDS), "who is busy")
            else:
                return answer

    async def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx2.Response:
        self.requests += 1
        try:
            answer = await self._client.request(method, path, **options)
        except httpx2.HTTPError as error:
            raise NotVerified(f"{self.url}: {str(error) or type(error).__name__}") from error
        self._client.cookies.clear()
        if answer.is_redirect:
            raise NotVerified(f"{self.url} leads elsewhere: {answer.headers.get('location', '')}")
        if _generates(method, path) and answer.is_success:
            self.messages += 1
        return answer

    async def _wait(self, seconds: float, reason: str) -> None:
        if self.waited + seconds > LONGEST_WAIT_SECONDS:
            raise NotVerified(f"{self.url} refuses for longer than {LONGEST_WAIT_SECONDS:g} s: {reason}")
        self._tell(f"waiting {seconds:.0f} s for {reason}")
        started = time.monotonic()
        await asyncio.sleep(seconds)
        self.waited += time.monotonic() - started

    async def get(self, path: str, /, **options: Any) -> httpx2.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, /, **options: Any) -> httpx2.Response:
        return await self.request("POST", path, **options)

    async def put(self, path: str, /, **options: Any) -> httpx2.Response:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, /, **options: Any) -> httpx2.Response:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, /, **options: Any) -> httpx2.Response:
        return await self.request("DELETE", path, **options)


def _generates(method: str, path: str) -> bool:
    return method.upper() == "POST" and path in GENERATING


def _seconds_of(answer: httpx2.Response) -> float:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else 1.0


def said(answer: httpx2.Response) -> str:
    """For a report: what was asked and how it was answered, without the text of either."""
    return f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
