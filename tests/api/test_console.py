"""The console's files: what comes with them, how long they are kept, and that they are what they are said to be."""

import gzip
import re
import shutil
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from app.api import console
from app.core.config import Settings
from checks import vendored
from tests.api.problems import assert_problem
from tests.api.test_headers import SECURITY, variant
from tests.conftest import client_of

STATIC = console.FOLDER / "static"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
# As they are sent: what the overview with its charts fetches, and whoever opens every page.
FIRST_LOOK_BYTES, EVERY_PAGE_BYTES = 70_000, 130_000


def static_of(page: str) -> str:
    [found] = set(re.findall(r'="(/[^"]*/static/[0-9a-f]{16})/', page))
    return str(found)


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/messages/some-id?q=x", "/console/nowhere"])
async def test_every_address_of_the_console_is_the_one_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == (await client.get("/console")).text
    assert "{static}" not in answer.text


async def test_the_page_runs_the_files_of_the_service_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/console")
    [policy] = answer.headers.get_list("content-security-policy")
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == POLICY
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-cache"
    kept = {name: value for name, value in SECURITY.items() if name not in ("content-security-policy", "cache-control")}
    assert {name: answer.headers[name] for name in kept} == kept
    assert not re.search(r"<script>|<style|style=|\son\w+=", answer.text)


async def test_what_the_page_names_is_there(client: httpx.AsyncClient) -> None:
    page = (await client.get("/console")).text
    named = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(named) > 3
    for address in named:
        answer = await client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_a_file_is_kept_for_ever_under_its_version_and_not_there_under_another(
    client: httpx.AsyncClient,
) -> None:
    static = static_of((await client.get("/console")).text)
    assert_problem(await client.get(f"{static[:-16]}0123456789abcdef/main.js"), 404)
    for name in ("nothing.js", "%2e%2e/index.html", "..%2f..%2fapi%2fconsole.py", "vendor", ""):
        assert_problem(await client.get(f"{static}/{name}"), 404)


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.00", False),
        ("br", False),
        ("", False),
    ],
)
async def test_who_takes_gzip_gets_it(client: httpx.AsyncClient, accepted: str, zipped: bool) -> None:
    static = static_of((await client.get("/console")).text)
    async with client.stream("GET", f"{static}/main.js", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert (gzip.decompress(raw) if zipped else raw) == (STATIC / "main.js").read_bytes()
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("of", ["page", "file"])
async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient, of: str) -> None:
    page = await client.get("/console")
    path = "/console" if of == "page" else f"{static_of(page.text)}/style.css"
    first = await client.get(path)
    for known in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = await client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    plain = await client.get(path, headers={"If-None-Match": first.headers["etag"], "Accept-Encoding": "identity"})
    assert plain.status_code == 200, "what is not compressed is another representation"


def fetched_with(name: str) -> set[str]:
    """The file and those that its imports name, from the first line on."""
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            named = re.findall(r"""(?:from|^import) ['"]([^'"]+)['"]""", (STATIC / one).read_text(), re.MULTILINE)
            waiting += [
                (STATIC / one).parent.joinpath(other).resolve().relative_to(STATIC).as_posix() for other in named
            ]
    return found


async def test_little_is_sent(client: httpx.AsyncClient) -> None:
    page = (await client.get("/console")).text
    preloaded = {name.partition(static_of(page))[2][1:] for name in re.findall(r'(?:href|src)="([^"]+)"', page)}
    look = preloaded | fetched_with("main.js") | fetched_with("pages/overview.js")
    look |= {"vendor/uplot.js", "vendor/uplot.css"}
    static = console.files().static
    assert sum(len(static[name].zipped) for name in look) < FIRST_LOOK_BYTES
    pages = [name for name in static if not name.startswith(("vendor/LICENSE", "vendor/VERSIONS"))]
    assert sum(len(static[name].zipped) for name in pages) < EVERY_PAGE_BYTES


async def test_what_a_page_needs_at_once_is_named_at_once(client: httpx.AsyncClient) -> None:
    """Else a browser learns of a module when it has read another: a trip more for each level."""
    page = (await client.get("/console")).text
    named = {name.partition(static_of(page))[2][1:] for name in re.findall(r'(?:href|src)="([^"]+)"', page)}
    assert fetched_with("main.js") <= named


async def test_behind_a_prefix_the_page_names_it(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        page = await client.get("/api/console/messages")
        assert static_of(page.text).startswith("/api/console/static/")
        assert (await client.get(f"{static_of(page.text)}/main.js")).status_code == 200


async def test_it_can_be_left_out(settings: Settings, app: FastAPI) -> None:
    async with client_of(variant(settings, app, console_enabled=False)) as client:
        for path in ("/console", "/console/messages"):
            assert_problem(await client.get(path), 404)


def test_no_other_route_is_found_later_for_it(app: FastAPI) -> None:
    paths = [route.path for route in app.router.routes if isinstance(route, Route)]
    of_console = [index for index, path in enumerate(paths) if path.startswith("/console")]
    assert of_console == list(range(len(paths) - 3, len(paths)))


def test_only_reads_are_answered(app: FastAPI) -> None:
    of_console = [route for route in app.router.routes if isinstance(route, Route) and "/console" in route.path]
    assert {method for route in of_console for method in route.methods or ()} == {"GET", "HEAD"}


def test_every_file_is_served() -> None:
    here = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert here == set(console.files().static)


SOURCES = sorted(path for path in STATIC.rglob("*") if path.suffix in (".js", ".css") and "vendor" not in path.parts)
HTML_MADE = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|eval\(|new Function|javascript:")

ELSEWHERE = re.compile(r"//(?!localhost)[a-z0-9-]+\.[a-z]")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(STATIC).as_posix())
def test_text_reaches_the_page_as_text_and_files_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert not HTML_MADE.search(text)
    assert not ELSEWHERE.search(text)


def test_the_libraries_are_those_that_are_recorded() -> None:
    assert list(vendored.differences()) == []


@pytest.mark.parametrize("change", ["changed", "missing", "unknown"])
def test_a_library_that_is_another_one_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    copy = shutil.copytree(vendored.FOLDER, tmp_path / "vendor")
    monkeypatch.setattr(vendored, "FOLDER", copy)
    if change == "changed":
        (copy / "uplot.js").write_bytes((copy / "uplot.js").read_bytes() + b" ")
    elif change == "missing":
        (copy / "uplot.js").unlink()
    else:
        (copy / "other.js").write_text("")
    assert list(vendored.differences()) == ["other.js" if change == "unknown" else "uplot.js"]
