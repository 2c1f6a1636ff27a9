"""Images of requests: what they are by their bytes, how large, and where they may be fetched from."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.core.errors import InvalidImage
from app.core.items import Image
from app.llm import images as bounds
from app.llm.images import PIECE, Images, RequestImages
from tests.webhooks.receiver import LOOPBACK

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100
KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"x" * 10,
    "image/gif": b"GIF89a" + b"x" * 10,
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@asynccontextmanager
async def opened(most: int = 10**6, allowed: bool = True) -> AsyncIterator[RequestImages]:
    images = Images(most, LOOPBACK if allowed else (), ("https", "http"))
    try:
        yield images.of_request("t")
    finally:
        await images.close()


@asynccontextmanager
async def serving(*answers: tuple[str, bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives the answers (status line with headers, body) in order, the last one for ever."""
    asked: list[str] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, body = answers[min(len(asked), len(answers) - 1)]
        asked.append(head.decode())
        writer.write(f"HTTP/1.1 {line}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/image", asked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", ["image/png", "IMAGE/JPG", "text/html;charset=utf-8", ""])
async def test_an_image_is_what_its_bytes_say(kind: str, said: str) -> None:
    data = encoded(KINDS[kind])
    async with opened() as images:
        assert await images.image_of(f"data:{said};base64,{data}") == Image(kind, data)
        assert await images.decode(data) == Image(kind, data)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64," + encoded(PNG)[:-1],
        "data:image/png;base64," + encoded(PNG) + "=",
        "data:image/png;base64," + encoded(PNG)[:40] + "\n" + encoded(PNG)[40:],
        "data:image/png," + "x" * 10,
        "data:image/svg+xml;base64," + encoded(SVG),
        "data:image/png;base64," + encoded(SVG),
        "data:" + "a" * 10**6,
        "data:image/png;base64," + encoded(PNG) + "==" + "A" * PIECE,
        "ftp://example.com/x.png",
        "https://user:pass@example.com/x.png",
        "file:///etc/passwd",
        "x",
        "",
    ],
    ids=lambda url: url[:40],
)
async def test_what_is_no_image_is_refused(url: str) -> None:
    async with opened() as images:
        with pytest.raises(InvalidImage) as caught:
            await images.image_of(url)
    assert "passwd" not in caught.value.detail
    assert "AAAA" not in caught.value.detail


async def test_one_of_50_megabytes_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds.binascii, "a2b_base64", None)
    async with opened(20 * 2**20) as images:
        with pytest.raises(InvalidImage, match="too large: 20971520"):
            await images.image_of("data:image/png;base64," + "A" * 70_000_000)


async def test_a_large_one_is_decoded_piece_by_piece() -> None:
    data = encoded(PNG + b"y" * 5_000_000)
    async with opened(10**7) as images:
        decoding = asyncio.ensure_future(images.decode(data))
        turns = 0
        while not decoding.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await decoding).data == data
    assert turns > 5


async def test_the_images_of_a_request_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_IMAGES", 3)
    monkeypatch.setattr(bounds, "MAX_TOTAL_BYTES", 250)
    async with opened() as images:
        for _ in range(2):
            await images.decode(encoded(PNG))
        with pytest.raises(InvalidImage, match="too large"):
            await images.decode(encoded(PNG))
        with pytest.raises(InvalidImage, match="3 images"):
            await images.decode(encoded(KINDS["image/gif"]))


@pytest.mark.parametrize("size", [100, 2 * PIECE + 1])
async def test_an_image_is_fetched(size: int) -> None:
    content = PNG + b"z" * size
    async with serving(("200 OK\r\nContent-Type: text/html", content)) as (url, asked), opened(10**7) as images:
        assert await images.image_of(url) == Image("image/png", encoded(content))
    assert "cookie" not in asked[0].lower()
    assert "authorization" not in asked[0].lower()


@pytest.mark.parametrize(
    ("line", "body", "words"),
    [
        ("404 Not Found", PNG, "answers 404"),
        ("200 OK\r\nContent-Length: 99999999", PNG, "too large"),
        ("200 OK", PNG * 20_000, "too large"),
        ("200 OK\r\nContent-Encoding: gzip", PNG, "PNG"),
        ("200 OK", SVG, "PNG"),
        ("200 OK", b"", "PNG"),
        ("no HTTP", b"", "could not be fetched"),
        ("302 Found\r\nLocation: /image", b"", "leads on too often"),
        ("302 Found", b"", "answers 302"),
        ("302 Found\r\nLocation: ftp://127.0.0.1/x", b"", "could not be fetched"),
    ],
)
async def test_what_cannot_be_fetched_is_refused_in_few_words(line: str, body: bytes, words: str) -> None:
    async with serving((line, body)) as (url, _), opened() as images:
        with pytest.raises(InvalidImage, match=words):
            await images.image_of(url)


async def test_a_redirect_is_followed_within_what_is_allowed() -> None:
    async with (
        serving(("200 OK", PNG)) as (target, _),
        serving((f"307 X\r\nLocation: {target}", b"")) as (url, _),
        opened() as images,
    ):
        assert (await images.image_of(url)).media_type == "image/png"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.1", "0x7f.1"])
async def test_no_address_of_our_own_is_called(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, and where a public server's redirect leads there."""
    async with serving(("200 OK", PNG)) as (url, asked):
        own = url.replace("127.0.0.1", host)
        async with opened(allowed=False) as images:
            with pytest.raises(InvalidImage, match="could not be fetched"):
                await images.image_of(own)
            public = Images(10**6, LOOPBACK, ("http",))
            looked: list[str] = []

            async def look(address: str, most: int) -> bytes | str:
                looked.append(address)
                return own if len(looked) == 1 else await images._images._look(address, most)

            monkeypatch.setattr(public, "_look", look)
            with pytest.raises(InvalidImage, match="could not be fetched"):
                await public.of_request("t").image_of("http://example.com/x.png")
            await public.close()
    assert looked == ["http://example.com/x.png", own]
    assert asked == []


async def test_by_default_an_image_is_fetched_by_https_alone() -> None:
    images = Images(10**6, LOOPBACK)
    async with serving(("200 OK", PNG)) as (url, asked):
        with pytest.raises(InvalidImage, match="must be https"):
            await images.of_request("t").image_of(url)
    await images.close()
    assert asked == []


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FETCH_SECONDS", 0.1)

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with opened() as images:
        with pytest.raises(InvalidImage, match="could not be fetched"):
            await images.image_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
    server.close()


async def test_slow_servers_of_a_tenant_hold_up_that_tenant_alone() -> None:
    silent = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    images = Images(10**6, LOOPBACK, ("http",))
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as slow, serving(("200 OK", PNG)) as (url, _):
        never = f"http://127.0.0.1:{slow.sockets[0].getsockname()[1]}/"
        waiting = [asyncio.create_task(images.of_request("a").image_of(never)) for _ in range(bounds.MAX_FETCHES * 2)]
        await asyncio.sleep(0)
        assert (await images.of_request("b").image_of(url)).media_type == "image/png"
        assert not any(each.done() for each in waiting)
        silent.set()
        await asyncio.gather(*waiting, return_exceptions=True)
    await images.close()


async def test_what_is_fetched_is_held_like_a_body() -> None:
    held: list[int] = []
    images = Images(10**6, LOOPBACK, ("http",))
    async with serving(("200 OK", PNG)) as (url, _):
        request = images.of_request("t", held.append)
        await request.image_of(url)
        await request.image_of("data:image/png;base64," + encoded(PNG))
    assert held == [len(PNG) * 4 // 3]
    await images.close()
