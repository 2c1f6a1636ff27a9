"""The other tests of the console are worth what their window notices: here it is shown everything that must not be."""

import pytest
from playwright.async_api import Browser, Route

from tests.console.deployment import Deployment
from tests.console.window import PHONE, Window
from tests.waiting import until

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
PAGE = """<!doctype html><html lang="en"><title>Bad</title><h1>Bad</h1><script src="/bad.js"></script>
<img src="x" onerror="window.ran = true"><button></button><p><code>{wide}</code></p></html>"""
SCRIPT = """console.error("said so"); fetch("/no-such-thing"); fetch("https://elsewhere.example/").catch(() => {});
setTimeout(() => { throw new Error("nobody caught it"); });"""


async def test_a_window_notices_what_a_page_does_wrong(browser: Browser, service: Deployment) -> None:
    context = await browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]})

    async def page(route: Route) -> None:
        policy = {"Content-Security-Policy": f"{POLICY} https://elsewhere.example"}
        await route.fulfill(headers=policy, content_type="text/html", body=PAGE.format(wide="w" * 200))

    async def script(route: Route) -> None:
        await route.fulfill(content_type="text/javascript", body=SCRIPT)

    await context.route("**/bad", page)
    await context.route("**/bad.js", script)
    window = await Window.open(context, service.base)
    await window.go("/bad")
    marks = ("policy: script-src-attr", "said so", "nobody caught it", "asked of another", "404: GET /no-such-thing")
    await until(lambda: all(any(mark in problem for problem in window.problems) for mark in marks), "all problems")
    assert await window.page.evaluate("window.ran") is None
    with pytest.raises(AssertionError, match="button-name"):
        await window.usable_by_all()
    with pytest.raises(AssertionError, match="wider"):
        await window.fits()
    with pytest.raises(AssertionError, match="said so"):
        window.is_quiet()
    await context.close()
