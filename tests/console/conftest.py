"""One browser and one service for all tests of the console; each test opens windows of its own."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from sqlalchemy import URL

from tests.console.chromium import CHROMIUM, chromium
from tests.console.deployment import Deployment, deployment
from tests.console.window import DESK, Window
from tests.helpers import PASSWORD, Member, Tenant
from tests.waiting import PATIENCE_SECONDS

Visit = Callable[..., Awaitable[Window]]
Measured = Callable[[str], None]
FIGURES = pytest.StashKey[list[str]]()
# A bound that ends a hang: its own of five seconds would judge the machine.
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured is told; no test judges speed by it."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Measured:
    return pytestconfig.stash.setdefault(FIGURES, []).append


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium (make test-console installs it for root, on Debian)")
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session")
async def service(template_url: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployment(template_url, tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def acme(service: Deployment) -> Tenant:
    return await service.tenant("Acme")


@pytest_asyncio.fixture(scope="session")
async def rival(service: Deployment) -> Tenant:
    return await service.tenant("Rival")


@pytest_asyncio.fixture
async def visit(request: pytest.FixtureRequest, browser: Browser, service: Deployment) -> AsyncIterator[Visit]:
    """Opens the console at a path, signed in as a member (None: as nobody); a window that complained fails the test."""
    windows: list[Window] = []

    async def open_window(
        member: Member | None = None,
        path: str = "/console",
        size: tuple[int, int] = DESK,
        base: str | None = None,
        **context: Any,
    ) -> Window:
        viewport = {"width": size[0], "height": size[1]}
        opened = await browser.new_context(viewport=viewport, **context)
        window = await Window.open(opened, base or service.base)
        windows.append(window)
        await window.go(path)
        if member is not None:
            await window.sign_in(member.email, PASSWORD)
        return window

    yield open_window
    for number, window in enumerate(windows):
        await window.shot(f"last/{name_of(request)}-{number}")
        await window.context.close()
    for window in windows:
        window.is_quiet()


def name_of(request: pytest.FixtureRequest) -> str:
    """Of the test, as a file's."""
    return re.sub(r"[^\w-]+", "-", request.node.name).removeprefix("test_").strip("-")[:100]
