"""Images as they come in requests: decoded or fetched, known by their first bytes and bounded, before any is stored.

Most of them are large enough to hold up everybody if they were worked on in one go: they are taken a piece at a time.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import structlog

from app.core.errors import InvalidImage
from app.core.items import Image
from app.webhooks.guard import ON_BEHALF_OF, GuardedBackend, HostNotFound, Network
from app.webhooks.url import parse_url

if TYPE_CHECKING:
    import aiohttp

PIECE = 3 * 4 * 2**16
"""Bytes or characters that are worked on at once: in base64 three of one are four of the other."""
MAX_IMAGES = 100
MAX_TOTAL_BYTES = 50_000_000
"""Of a request, as OpenAI bounds it."""
MAX_REDIRECTS = 3
MAX_FETCHES, MAX_FETCHES_OF_TENANT = 8, 2
"""At once. A server that answers slowly holds a place for seconds, and a tenant may name any number of them."""
FETCH_SECONDS = 10.0
REDIRECTS = (301, 302, 303, 307, 308)
_DATA_URL = re.compile(r"data:[\w.+-]{0,64}/?[\w.+-]{0,64}(?:;[\w.+-]{1,64}=[\w.+-]{1,64}){0,4};base64,", re.IGNORECASE)
_LONGEST_HEAD = 1024
_KINDS = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_KIND = "An image must be a PNG, JPEG, GIF or WebP."
_NOT_BASE64 = "The image is not base64."

Hold = Callable[[int], None]
"""Told of bytes that the request did not bring, and that its call holds; it may refuse them."""
logger = structlog.get_logger()


def _held(size: int) -> None:
    """Nobody counts."""


class Images:
    """One for the life of the process: it owns the connections. `networks` may be fetched from besides public ones."""

    def __init__(self, most_bytes: int, networks: Sequence[Network] = (), schemes: Sequence[str] = ("https",)) -> None:
        self.most_bytes = most_bytes
        self._networks = tuple(networks)
        self._schemes = tuple(schemes)
        self._backend = GuardedBackend(self._networks)
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        # Of each tenant that is fetching; who fetches holds it.
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._session: aiohttp.ClientSession | None = None

    def of_request(self, tenant_id: str, hold: Hold = _held) -> "RequestImages":
        return RequestImages(self, tenant_id, hold)

    async def fetch(self, url: str, most: int, tenant_id: str) -> bytes:
        """What the URL leads to, at most `most` bytes.

        Raises:
            InvalidImage
        """
        import aiohttp  # not at the top: for who fetches one

        ON_BEHALF_OF.set(tenant_id)
        share = self._shares.get(tenant_id)
        if share is None:
            share = self._shares[tenant_id] = asyncio.Semaphore(MAX_FETCHES_OF_TENANT)
        try:
            async with share, self._slots, asyncio.timeout(FETCH_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    found = await self._look(url, most)
                    if isinstance(found, bytes):
                        return found
                    url = found
        except (ValueError, OSError, HostNotFound, aiohttp.ClientError) as error:
            logger.info("image_not_fetched", reason=type(error).__name__)
            raise InvalidImage("The image could not be fetched: its URL must be https, public and answer.") from None
        raise InvalidImage("The image's URL leads on too often.")

    async def _look(self, url: str, most: int) -> bytes | str:
        """The content, or the URL that it is at instead."""
        target = parse_url(url, self._networks)
        if target.scheme not in self._schemes:
            raise InvalidImage("The image's URL must be https.")
        async with self._connected().get(str(target), allow_redirects=False) as response:
            if response.status in REDIRECTS and (location := response.headers.get("Location")):
                return urljoin(str(target), location)
            if response.status != 200:
                raise InvalidImage(f"The image could not be fetched: its server answers {response.status}.")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise InvalidImage(_KIND)
            if (response.content_length or 0) > most:
                raise _too_large(most)
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > most:
                    raise _too_large(most)
            return bytes(content)

    def _connected(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp
            import httpcore2

            from app.webhooks.resolver import GuardedResolver

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self._backend),
                    use_dns_cache=False,
                    ssl=httpcore2.default_ssl_context(),
                    force_close=True,
                ),
                headers={"Accept": ", ".join(_KINDS), "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._backend.close()


class RequestImages:
    """The images of one request, whose number and bytes are bounded together. `hold`: of those that are fetched."""

    def __init__(self, images: Images, tenant_id: str, hold: Hold) -> None:
        self._images = images
        self._tenant_id = tenant_id
        self.hold = hold
        self._count = 0
        self._left = MAX_TOTAL_BYTES

    async def image_of(self, url: str) -> Image:
        """The image of a `data:` or https URL.

        Raises:
            InvalidImage: its `detail` says what is wrong, for the caller.
        """
        if url[:5].lower() != "data:":
            return await self._fetched(url)
        head = _DATA_URL.match(url[:_LONGEST_HEAD])
        if head is None:
            raise InvalidImage("The image's data URL must be like data:image/png;base64,...")
        return await self._decoded(url, head.end())

    async def decode(self, data: str) -> Image:
        """The image that is given as base64. It is of the kind that its bytes say, whatever it is called.

        Raises:
            InvalidImage
        """
        return await self._decoded(data, 0)

    async def _decoded(self, text: str, start: int) -> Image:
        # Counted before anything is decoded, or copied.
        size = (len(text) - start) * 3 // 4
        most = self._admit()
        if size > most + 2:
            raise _too_large(most)
        if (len(text) - start) % 4:
            raise InvalidImage(_NOT_BASE64)
        kind = ""
        for at in range(start, len(text), PIECE):
            try:
                piece = binascii.a2b_base64(text[at : at + PIECE], strict_mode=True)
            except (ValueError, binascii.Error):
                raise InvalidImage(_NOT_BASE64) from None
            if len(piece) % 3 and at + PIECE < len(text):
                raise InvalidImage(_NOT_BASE64)  # it ends within
            kind = kind or _kind_of(piece)
            await asyncio.sleep(0)
        if not kind:
            raise InvalidImage(_KIND)
        self._left -= size
        return Image(kind, text[start:])

    async def _fetched(self, url: str) -> Image:
        content = await self._images.fetch(url, self._admit(), self._tenant_id)
        kind = _kind_of(content)
        self._left -= len(content)
        self.hold(len(content) * 4 // 3)
        pieces: list[str] = []
        for at in range(0, len(content), PIECE):
            pieces.append(base64.b64encode(content[at : at + PIECE]).decode())
            await asyncio.sleep(0)
        return Image(kind, "".join(pieces))

    def _admit(self) -> int:
        """The bytes that the next one may have."""
        self._count += 1
        if self._count > MAX_IMAGES:
            raise InvalidImage(f"A request may hold {MAX_IMAGES} images.")
        return min(self._images.most_bytes, self._left)


def _kind_of(content: bytes) -> str:
    for kind, magic in _KINDS.items():
        if magic.match(content):
            return kind
    raise InvalidImage(_KIND)


def _too_large(most: int) -> InvalidImage:
    return InvalidImage(f"The image is too large: {most} bytes at most.")
