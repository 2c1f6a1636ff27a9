"""A provider's address: sends JSON, reads the answer within bounds, and asks again what may pass.

The SDKs know how a request of theirs looks; aiohttp carries it, for a twelfth of the CPU that they take (ADR 18).
"""

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpcore2
import structlog

from app.core.errors import ProviderError, ProviderRejected
from app.llm.base import Call, CallLimits, Credential
from app.llm.failures import UNREADABLE, AnswerTooLarge, refused, unreachable, unreadable
from app.llm.lines import parsed
from app.observability import tracing
from app.webhooks.guard import ON_BEHALF_OF, AddressRefused, GuardedBackend, HostNotFound
from app.webhooks.resolver import GuardedResolver
from app.webhooks.url import parse_url

MAX_CONNECTIONS = 20_000
"""Thousands of streams may run at once, and what bounds them is counted elsewhere, for each tenant."""
CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
MAX_WORDS = 2**16
# What a client of an SDK would set for itself, and aiohttp sets here.
HOP_HEADERS = {"accept-encoding", "connection", "content-length", "host"}
NEGOTIABLE = (400, 422)
NO_CALL = Call(())

logger = structlog.get_logger()

T = TypeVar("T")
Read = Callable[[AsyncIterator[bytes]], Awaitable[T]]


class NotUnderstood(Exception):
    """A server that refuses the request as such. Its `words` may name a parameter, and are for no other eyes."""

    def __init__(self, refusal: ProviderError, words: str) -> None:
        super().__init__()
        self.refusal = refusal
        self.words = words


class Endpoint:
    """One address, with the connections to it. They are opened with the first call: that has a running loop."""

    def __init__(
        self, provider: str, base_url: str, path: str, headers: Mapping[str, object], limits: CallLimits
    ) -> None:
        self._provider = provider
        self._path = path
        self.url = f"{base_url.rstrip('/')}{path}"
        sent = {name: text for name, text in headers.items() if isinstance(text, str)}
        self._headers = {name: text for name, text in sent.items() if name.lower() not in HOP_HEADERS}
        # A compressed megabyte can hold a gigabyte, so none is asked for and none is taken.
        self._headers |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._limits = limits
        self._proxy = _proxy_for(self.url)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._guard = GuardedBackend(limits.networks)

    def url_for(self, credential: Credential | None) -> str:
        own = credential.base_url if credential else ""
        return f"{own.rstrip('/')}{self._path}" if own else self.url

    async def call(self, body: Mapping[str, Any], read: Read[T], call: Call = NO_CALL) -> T:
        """What `read` makes of the answer's bytes. The call's credential takes the place of the service's.

        Raises:
            NotUnderstood: 400 or 422.
            ProviderError
        """
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        started, tried = time.monotonic(), 0
        while True:
            try:
                return await self._once(data, read, call)
            except ProviderError as error:
                pause = self._pause_before(tried, error)
                if pause is None or time.monotonic() - started + pause >= self._limits.call_seconds:
                    raise
            await asyncio.sleep(pause)
            tried += 1

    def _pause_before(self, tried: int, error: ProviderError) -> float | None:
        if not error.transient or tried >= self._limits.retries:
            return None
        if error.retry_after:
            return error.retry_after if error.retry_after <= self._limits.longest_wait else None
        # Not all at once: who failed together would come back together.
        pause = min(FIRST_PAUSE_SECONDS * 2.0**tried, LONGEST_PAUSE_SECONDS)
        return pause * random.uniform(0.75, 1.0)  # noqa: S311

    async def _once(self, data: bytes, read: Read[T], call: Call) -> T:
        headers = {**self._headers, **tracing.headers()}
        if call.credential is not None:
            headers["Authorization"] = f"Bearer {call.credential.api_key}"
        answered = False
        try:
            async with self._post(data, headers, call) as response:
                parts = _bounded(response, self._limits.bytes)
                if not 200 <= response.status < 300:
                    refusal = refused(self._provider, response.headers, response.status)
                    if response.status in NEGOTIABLE:
                        raise NotUnderstood(refusal, await _words_of(parts))
                    raise refusal
                answered = True
                return await read(parts)
        except AddressRefused as error:
            logger.warning("provider_error", provider=self._provider, error=type(error).__name__)
            raise ProviderRejected from None
        except (aiohttp.ClientError, HostNotFound, TimeoutError) as error:
            raise unreachable(self._provider, error, began=answered) from None
        except UNREADABLE as error:
            raise unreadable(self._provider, error) from None

    def _post(
        self, data: bytes, headers: Mapping[str, str], call: Call
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A tenant's own address is reached past the guard, and not by a proxy: that would look the name up again."""
        url = self.url_for(call.credential)
        own = url != self.url
        if own:
            parse_url(url, self._limits.networks)  # one that is written as numbers is not looked up
            ON_BEHALF_OF.set(call.tenant_id)
        session = self._sessions.get(own) or self._open(own=own)
        return session.post(url, data=data, headers=headers, proxy=None if own else self._proxy, allow_redirects=False)

    def _open(self, *, own: bool) -> aiohttp.ClientSession:
        limits = self._limits
        self._sessions[own] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                ssl=trust(),
                resolver=GuardedResolver(self._guard) if own else None,
                use_dns_cache=not own,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_WORDS,
            max_field_size=MAX_WORDS,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(limits.call_seconds, CONNECT_SECONDS), sock_read=limits.silence_seconds
            ),
        )
        return self._sessions[own]

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._guard.close()


@cache
def trust() -> ssl.SSLContext:
    """The authorities that are believed. Reading them takes 20 ms, so all endpoints and clients share them."""
    return httpcore2.default_ssl_context()


def whole(take: Callable[[Any], T]) -> Read[T]:
    """Reads a JSON answer in one piece."""

    async def read(parts: AsyncIterator[bytes]) -> T:
        return take(parsed(b"".join([part async for part in parts])))

    return read


async def _bounded(response: aiohttp.ClientResponse, most: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes; raises once it is more than `most` bytes."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AnswerTooLarge
    if (response.content_length or 0) > most:
        raise AnswerTooLarge
    async for part in response.content.iter_any():
        most -= len(part)
        if most < 0:
            raise AnswerTooLarge
        yield part


async def _words_of(parts: AsyncGenerator[bytes, None]) -> str:
    """The beginning of an error's body."""
    words = b""
    async with aclosing(parts):
        async for part in parts:
            words += part
            if len(words) >= MAX_WORDS:
                break
    return words.decode(errors="replace")


def maker_of(provider: str, url: str, usual: str) -> str:
    """Whose thoughts an answer from the address holds: another server could not read what this one sealed."""
    host = urlsplit(url).hostname
    return provider if host == urlsplit(usual).hostname else f"{provider}:{host}"


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for the address; it is looked up once, not for each request."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return None if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]) else proxy
