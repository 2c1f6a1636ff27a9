"""The console's files: read and compressed at the first request, kept by browsers for as long as they are the same."""

import gzip
import hashlib
import html
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).resolve().parents[1] / "console"
PAGE, STATIC = "index.html", "static"
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FOR_EVER = "public, max-age=31536000, immutable"
_NO_WEIGHT = re.compile(r"q=0(\.0*)?")


class Stored(NamedTuple):
    """A file in both forms in which it is sent; `digest` is that of its content."""

    plain: bytes
    zipped: bytes
    digest: str
    media_type: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "Stored":
        return cls(content, gzip.compress(content, mtime=0), hashlib.sha256(content).hexdigest()[:32], media_type)


class Files(NamedTuple):
    """All of them by their names below `static`; `digest` is that of them together, which their addresses hold."""

    page: str
    static: dict[str, Stored]
    digest: str


@cache
def files() -> Files:
    static = {
        path.relative_to(FOLDER / STATIC).as_posix(): Stored.of(path.read_bytes(), MEDIA_TYPES[path.suffix])
        for path in sorted((FOLDER / STATIC).rglob("*"))
        if path.suffix in MEDIA_TYPES
    }
    told = "".join(f"{name}\n{stored.digest}\n" for name, stored in static.items())
    return Files((FOLDER / PAGE).read_text(), static, hashlib.sha256(told.encode()).hexdigest()[:16])


def install_console(app: FastAPI) -> None:
    """The last routes of all, so that no other is found later for them."""
    app.router.add_route(f"/console/{STATIC}/{{digest}}/{{name:path}}", _file, include_in_schema=False)
    for path in ("/console", "/console/{path:path}"):
        app.router.add_route(path, _page, include_in_schema=False)


async def _files() -> Files:
    """What reads and compresses for the first request does so in a thread."""
    return files() if files.cache_info().currsize else await run_in_threadpool(files)


async def _page(request: Request) -> Response:
    """The one page, for every path that it may be opened at: what is shown there, its scripts decide."""
    found = await _files()
    root = html.escape(request.scope.get("root_path", ""))
    page = found.page.replace("{static}", f"{root}/console/{STATIC}/{found.digest}")
    stored = Stored.of(page.encode(), "text/html; charset=utf-8")
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return _answer(request, stored, headers)


async def _file(request: Request) -> Response:
    """A file of this version. Of another one it is not there: kept for ever, it would be the wrong one for ever."""
    found = await _files()
    stored = found.static.get(request.path_params["name"])
    if stored is None or request.path_params["digest"] != found.digest:
        raise HTTPException(404)
    return _answer(request, stored, {"Cache-Control": FOR_EVER})


def _answer(request: Request, stored: Stored, headers: dict[str, str]) -> Response:
    zips = _takes_gzip(request.headers.getlist("Accept-Encoding"))
    etag = f'"{stored.digest}-gzip"' if zips else f'"{stored.digest}"'
    headers |= {"ETag": etag, "Vary": "Accept-Encoding"}
    if _has(request.headers.getlist("If-None-Match"), etag):
        return Response(status_code=304, headers=headers)
    if zips:
        headers["Content-Encoding"] = "gzip"
    return Response(stored.zipped if zips else stored.plain, headers=headers, media_type=stored.media_type)


def _takes_gzip(lines: Iterable[str]) -> bool:
    for coding in ",".join(lines).split(","):
        name, _, weight = coding.lower().replace(" ", "").partition(";")
        if name == "gzip":
            return not _NO_WEIGHT.fullmatch(weight)
    return False


def _has(lines: Iterable[str], etag: str) -> bool:
    return any(known.strip().removeprefix("W/") in (etag, "*") for known in ",".join(lines).split(","))
