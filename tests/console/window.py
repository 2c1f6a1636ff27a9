"""A person's window onto the console: whatever its page complains of, or asks of somebody else, is remembered."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, Response

from tests.waiting import PATIENCE_SECONDS

SHOTS = os.environ.get("CONSOLE_SHOTS")
"""Where pictures of the pages go; without it none are taken."""
PHONE, DESK = (360, 740), (1600, 1000)
BARRED = ("serious", "critical")
# Chromium writes a line about each answer that is an error; the answers themselves are looked at.
ABOUT_ANSWERS = re.compile(r"Failed to load resource: (the server responded with a status of \d+|net::ERR_)")
# What the page itself cannot see of its policy's work: an event says it, in any frame.
WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} kept out ${event.blockedURI} ${event.sample}`));
new PerformanceObserver((list) => {
  const what = ({ node }) => (node?.nodeType === 1 ? node : node?.parentElement)?.outerHTML.slice(0, 100);
  for (const { hadRecentInput, value, sources } of list.getEntries())
    if (!hadRecentInput) (window.shifts ??= []).push(`${value.toFixed(4)}: ${sources.map(what).join(", ")}`);
}).observe({type: "layout-shift", buffered: true});
"""


class Window:
    """`page` is the browser's own. `problems` must be empty in the end; `expected` are the statuses that are none."""

    def __init__(self, context: BrowserContext, page: Page, base: str) -> None:
        self.context, self.page, self.base = context, page, base
        self.problems: list[str] = []
        self.requests: list[str] = []
        # Without a session there is nothing to renew: the first question of a page that was just opened.
        self.expected: set[tuple[int, str]] = {(401, "/refresh")}
        self.unreachable_is_expected = False
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.problems.append(f"not caught: {error}"))
        page.on("request", self._requested)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)
        page.on("dialog", self._asked)

    @classmethod
    async def open(cls, context: BrowserContext, base: str) -> "Window":
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        await context.add_init_script(WATCH)
        return cls(context, await context.new_page(), base)

    def expect(self, status: int, path: str = "/") -> None:
        """The page is meant to meet this answer, there and below."""
        self.expected.add((status, path))

    async def go(self, path: str = "/console") -> None:
        await self.page.goto(self.base + path)

    async def sign_in(self, email: str, password: str) -> None:
        """Through the form, on the page that is open."""
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password", exact=True).fill(password)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("navigation").wait_for()

    async def shot(self, name: str) -> None:
        if SHOTS:
            path = Path(SHOTS) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            await self.page.screenshot(path=path, animations="disabled")

    async def usable_by_all(self) -> None:
        """axe-core finds nothing serious; the page lets no injected script in, so it is run from outside."""
        found = (await Axe().run(self.page)).response["violations"]
        barred = [_told(violation) for violation in found if violation["impact"] in BARRED]
        assert not barred, f"{self.page.url}:\n" + "\n".join(barred)

    async def fits(self) -> None:
        """Nothing makes the page itself scroll sideways."""
        wide = await self.page.evaluate(
            """() => { const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > width + 1)
              .slice(0, 5).map((e) => e.outerHTML.slice(0, 200)).concat("it scrolls"); }"""
        )
        assert not wide, f"{self.page.url} is wider than {self.page.viewport_size}: {wide}"

    async def shifts(self) -> list[str]:
        """What moved by itself after it was painted: how much (the Layout Instability API's score), and which parts."""
        found: list[str] = await self.page.evaluate("window.shifts ?? []")
        return found

    async def first_paint(self) -> float:
        """Milliseconds from the navigation's start to the first content."""
        return float(
            await self.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        )

    def is_quiet(self) -> None:
        assert not self.problems, "\n".join(self.problems)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not ABOUT_ANSWERS.match(message.text):
            self.problems.append(f"console: {message.text}")

    def _requested(self, request: Request) -> None:
        self.requests.append(f"{request.method} {request.url}")
        if not request.url.startswith((f"{self.base}/", "data:")):
            self.problems.append(f"asked of another: {request.method} {request.url}")

    def _failed(self, request: Request) -> None:
        # ERR_ABORTED: the page itself took the question back.
        if request.failure != "net::ERR_ABORTED" and not self.unreachable_is_expected:
            self.problems.append(f"not reached: {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        expected = any(response.status == status and path.startswith(below) for status, below in self.expected)
        if response.status >= 400 and not expected:
            self.problems.append(f"{response.status}: {response.request.method} {path}")

    async def _asked(self, dialog: Any) -> None:
        """No page of ours opens one: a script that should not have run did."""
        self.problems.append(f"a dialog of the browser: {dialog.message}")
        await dialog.dismiss()


def _told(violation: dict[str, Any]) -> str:
    where = "; ".join(f"{node['target']} {node['html'][:160]}" for node in violation["nodes"][:5])
    return f"{violation['id']} ({violation['impact']}): {violation['help']}: {where}"
